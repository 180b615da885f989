"""Runs a node in a container of a Docker engine, with its folder mounted as ``/node``."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from pathlib import Path

from rabbitjobs.broker.install import Installation
from rabbitjobs.broker.layout import HOST, Identity, environment
from rabbitjobs.errors import NodeError

_PATIENCE = 60.0


class ContainerRunner:
    """A server in a container; its ports are published on the loopback address only.

    The server runs as the user who started it, so that the secrets in its
    folder stay readable by that user alone.
    """

    bind = "0.0.0.0"  # inside the container, which publishes it on 127.0.0.1
    inside = "/node"

    def __init__(self, installation: Installation, folder: Path, identity: Identity) -> None:
        self._image = installation.where
        self._folder = folder
        self._identity = identity
        self._name = f"rabbitjobs-{identity.amqp_port}-{identity.cookie[:8]}"

    def launch(self) -> None:
        """Start the container; the image is pulled first if this machine lacks it."""
        self.clear()
        identity = self._identity
        ports = (identity.amqp_port, identity.http_port, identity.tls_port)
        published = [
            part for port in filter(None, ports) for part in ("-p", f"{HOST}:{port}:{port}")
        ]
        variables = environment(self._identity, self.inside).items()
        settings = [part for name, value in variables for part in ("-e", f"{name}={value}")]
        code, out, err = self._docker(
            "run", "--detach", "--name", self._name, "--hostname", "localhost",
            "--user", f"{os.getuid()}:{os.getgid()}", "-v", f"{self._folder}:{self.inside}",
            *published, *settings, "--entrypoint", "rabbitmq-server", self._image,
            timeout=600,
        )  # fmt: skip
        if code != 0:
            raise NodeError(f"expected Docker to run {self._image}, got: {(out + err).strip()}")

    def alive(self) -> bool:
        """Whether the container runs (paused ones do)."""
        code, out, _ = self._docker("inspect", "--format", "{{.State.Running}}", self._name)
        return code == 0 and out.strip() == "true"

    def send(self, number: signal.Signals) -> None:
        """Signal the server; stopping and going on are Docker's pause and unpause."""
        if number == signal.SIGSTOP:
            self._docker("pause", self._name)
        elif number == signal.SIGCONT:
            self._docker("unpause", self._name)
        else:
            self._docker("kill", "--signal", number.name, self._name)

    def clear(self) -> None:
        """Remove the container; what it printed is kept in the node's log folder."""
        code, out, err = self._docker("logs", self._name)
        if code == 0:
            with contextlib.suppress(OSError):
                (self._folder / "log" / "server.out").write_text(out + err, encoding="utf-8")
        self._docker("rm", "--force", self._name)

    def tool(self, name: str, *arguments: str, stdin: str, timeout: float) -> tuple[int, str, str]:
        """Run a program in the container."""
        command = ("exec", "--interactive", self._name, name, *arguments)
        return self._docker(*command, stdin=stdin, timeout=timeout)

    def last_resort(self) -> str:
        """Remove the container."""
        return f"docker rm --force {shlex.quote(self._name)}"

    def _docker(
        self, *arguments: str, stdin: str = "", timeout: float = _PATIENCE
    ) -> tuple[int, str, str]:
        try:
            done = subprocess.run(
                ["docker", *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except OSError as error:
            raise NodeError(f"expected the program docker, got {error}") from error
        return done.returncode, done.stdout, done.stderr

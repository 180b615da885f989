"""A private RabbitMQ on the loopback address: start it, use it, break it, end it."""

from __future__ import annotations

import contextlib
import fcntl
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

import msgspec

from rabbitjobs.broker.commands import Commands
from rabbitjobs.broker.install import Installation, Report, provide
from rabbitjobs.broker.layout import (
    Identity,
    ServerTls,
    lay_out,
    new_identity,
    write_secret,
)
from rabbitjobs.broker.runner import make_runner
from rabbitjobs.errors import NodeError

_RECORD = "node.json"


class Ports(NamedTuple):
    """Where a node listens on the loopback address."""

    amqp: int
    management: int


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in a node's folder, so that another process finds it again."""

    identity: Identity
    installation: Installation


class Node(Commands):
    """A private RabbitMQ node: loopback only, random password, its own epmd, ports and folder.

    ``folder`` keeps its data over restarts; without one it lives in a temporary
    folder that ``close`` removes. ``version`` is "4.3", "4.0" or "3.10"; without
    it the machine's best is taken (installed first, if need be). A node dies with
    the process that started it, unless ``outlive`` is set. ``settings`` are lines
    of rabbitmq.conf. ``tls`` opens a port for ``amqps://`` as well (``tls_url``), and is
    given again at every start. ``report`` gets a line for each slow step.
    ``identity`` is for a cluster, whose nodes know each other before they start.

    As a context manager it is started on entry and closed on exit. Blocking
    calls; not for use from several threads at a time.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        version: str | None = None,
        outlive: bool = False,
        settings: Mapping[str, str] | None = None,
        tls: ServerTls | None = None,
        report: Report = lambda _line: None,
        identity: Identity | None = None,
    ) -> None:
        self._temporary = folder is None
        # Made at the first start: a node that never runs leaves nothing behind.
        temporary = f"{tempfile.gettempdir()}/rabbitjobs-node-{secrets.token_hex(6)}"
        self.folder = Path(folder or temporary).resolve()
        self._outlive = outlive
        self._report = report
        self._settings = dict(settings or {})
        self._tls = tls
        self._guard: subprocess.Popen[bytes] | None = None
        found = _read_record(self.folder)
        self._given = identity
        if found is None:
            installation = provide(version, report=report)
            found = Record(identity=identity or new_identity(), installation=installation)
        self._take(found)

    def _take(self, record: Record) -> None:
        self._record = record
        self._identity = record.identity
        self._runner = make_runner(record.installation, self.folder, record.identity)

    def __repr__(self) -> str:
        return f"Node({str(self.folder)!r}, version={self.version!r})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> str:
        """The server's version, such as "4.3.6"."""
        return self._record.installation.version

    @property
    def name(self) -> str:
        """The Erlang node's name, such as "rabbitjobs@localhost"."""
        return self._record.identity.nodename

    @property
    def installation(self) -> Installation:
        """The RabbitMQ that this node runs."""
        return self._record.installation

    @property
    def ports(self) -> Ports:
        """Where it listens."""
        return Ports(self._identity.amqp_port, self._identity.http_port)

    @property
    def url(self) -> str:
        """The AMQP URL of the default vhost, with the password in it: do not print it."""
        return self.vhost_url("/")

    @property
    def management_url(self) -> str:
        """The management HTTP API's address, with the password in it: do not print it."""
        return self._identity.management_url

    def tls_url(self, vhost: str = "/") -> str:
        """The ``amqps://`` URL of a vhost, with the password in it; only with ``tls``."""
        if self._tls is None:
            raise NodeError("expected a node with a TLS port, got one without; pass tls=")
        return self._record.identity.tls_url(vhost)

    def start(self, timeout: float = 60.0) -> Self:
        """Start the server and return when it accepts clients; running already is fine.

        Ports that somebody else took meanwhile are chosen anew for a node that
        has not run before. Raises ``NodeError`` with the end of the server's log.
        """
        deadline = time.monotonic() + timeout
        with self._alone():
            if self.running:
                self._wait_ready(deadline)
            else:
                self._start(deadline)
        return self

    def _start(self, deadline: float) -> None:
        if not self.installation.is_there():
            # Its cache was emptied, or the package removed.
            found = provide(report=self._report)
            self._take(Record(identity=self._identity, installation=found))
        for attempt in (1, 2, 3):
            self._launch()
            try:
                self._wait_ready(deadline)
            except NodeError as error:
                self._end_now()
                fresh = not any((self.folder / "data").iterdir()) or self._temporary
                fresh = fresh and self._given is None
                if attempt == 3 or "eaddrinuse" not in str(error) or not fresh:
                    if self._temporary:
                        shutil.rmtree(self.folder, ignore_errors=True)
                    raise
                self._take(Record(identity=new_identity(), installation=self._record.installation))
            else:
                return

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """No other process starts this node meanwhile."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def stop(self, timeout: float = 30.0) -> None:
        """End the server in order; what it confirmed is there at the next ``start``."""
        if self._runner.alive():
            self._runner.send(signal.SIGCONT)
            self._runner.send(signal.SIGTERM)
            self._wait_gone(timeout)
        self._end_now()

    def kill(self) -> None:
        """End the server with SIGKILL, as a power cut would; ``start`` brings it back."""
        self._runner.send(signal.SIGKILL)
        self._end_now()

    def restart(self) -> None:
        """Stop and start again: every connection breaks, the data stays."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing answers."""
        self._runner.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on (SIGCONT)."""
        self._runner.send(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server; a temporary node is killed and its folder removed."""
        if self._temporary:
            self.kill()
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            self.stop()

    @property
    def running(self) -> bool:
        """Whether the server's process exists; it may still be starting, or be paused."""
        found = _read_record(self.folder)
        if found is not None and found != self._record:
            self._take(found)  # another process started it since we looked
        return self._runner.alive()

    def log_tail(self, lines: int = 30) -> str:
        """The last lines that the server wrote, to its log and to its output."""
        files = sorted((self.folder / "log").glob("*.*"), key=lambda file: file.stat().st_mtime)
        text = "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)
        return "\n".join(text.splitlines()[-lines:])

    def _launch(self) -> None:
        record = self._record
        runner = self._runner
        lay_out(
            self.folder,
            record.identity,
            bind=runner.bind,
            inside=runner.inside,
            settings=self._settings,
            tls=self._tls,
        )
        write_secret(self.folder / _RECORD, msgspec.json.encode(record).decode())
        self._runner.launch()
        if not self._outlive:
            self._guard = self._start_guard()

    def _start_guard(self) -> subprocess.Popen[bytes]:
        """A shell that waits for our end, whatever it is, and then ends the server."""
        tidy = f'; sleep 0.2; rm -rf -- "{self.folder}"' if self._temporary else ""
        return subprocess.Popen(
            ["sh", "-c", f"read -r _ ; {self._runner.last_resort()}{tidy}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _wait_ready(self, deadline: float) -> None:
        while not self.ready:
            if not self._runner.alive():
                raise NodeError(f"expected RabbitMQ to start, got its end:\n{self.log_tail(80)}")
            if time.monotonic() > deadline:
                raise NodeError(f"expected RabbitMQ to be ready by now:\n{self.log_tail(80)}")
            time.sleep(0.05)

    def _wait_gone(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._runner.alive() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _end_now(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        self._runner.clear()


def _read_record(folder: Path) -> Record | None:
    try:
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise NodeError(
            f"expected a node's record in {folder}, got {error}; remove the folder"
        ) from error

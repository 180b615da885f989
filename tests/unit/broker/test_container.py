"""A node in a container: what Docker is asked to do, by a stand-in for the program `docker`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from rabbitjobs.broker.container import ContainerRunner
from rabbitjobs.broker.install import Installation
from rabbitjobs.broker.layout import Identity, lay_out
from rabbitjobs.errors import NodeError

IDENTITY = Identity(
    name="rabbitjobs",
    amqp_port=21001,
    http_port=21002,
    dist_port=21003,
    epmd_port=21004,
    password="the-password",
    cookie="c00c1ec00c1e",
)
IMAGE = "rabbitmq:4.3.6-management"


class Docker:
    """A stand-in that notes its arguments and answers as told."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def answers(self, text: str, code: int = 0) -> None:
        """Print ``text`` and exit with ``code`` from now on."""
        program = self._folder / "docker"
        log = self._folder / "asked"
        program.write_text(f'#!/bin/sh\necho "$@" >>{log}\necho "{text}"\nexit {code}\n')
        program.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        """The command lines so far."""
        return (self._folder / "asked").read_text().splitlines()


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """The stand-in, first on the PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    stand_in = Docker(tmp_path)
    stand_in.answers("ok")
    return stand_in


@pytest.fixture
def runner(tmp_path: Path) -> ContainerRunner:
    """A runner with a laid-out folder."""
    folder = tmp_path / "node"
    lay_out(
        folder,
        IDENTITY,
        bind=ContainerRunner.bind,
        inside=ContainerRunner.inside,
        settings={},
    )
    image = Installation(kind="image", version="4.3", where=IMAGE)
    return ContainerRunner(image, folder, IDENTITY)


def test_ports_are_published_on_the_loopback_address_only(
    docker: Docker, runner: ContainerRunner, tmp_path: Path
) -> None:
    """And the folder is mounted, the user is ours, the image is the pinned one."""
    runner.launch()
    run = docker.asked[-1]
    assert "-p 127.0.0.1:21001:21001 -p 127.0.0.1:21002:21002" in run
    assert f"-v {tmp_path / 'node'}:/node" in run
    assert f"--user {os.getuid()}:{os.getgid()}" in run
    assert run.endswith(f"--entrypoint rabbitmq-server {IMAGE}")


def test_no_secret_stands_on_a_command_line(docker: Docker, runner: ContainerRunner) -> None:
    """Password and cookie are in files of the node's folder, which only its owner reads."""
    runner.launch()
    assert "the-password" not in "".join(docker.asked)
    assert IDENTITY.cookie not in "".join(docker.asked)


def test_signals_become_dockers_own_words(docker: Docker, runner: ContainerRunner) -> None:
    """Pause, unpause, and kill with the signal's name."""
    for number in (signal.SIGSTOP, signal.SIGCONT, signal.SIGTERM, signal.SIGKILL):
        runner.send(number)
    words = [line.split(" rabbitjobs-")[0] for line in docker.asked]
    assert words == ["pause", "unpause", "kill --signal SIGTERM", "kill --signal SIGKILL"]


def test_a_container_is_alive_while_docker_says_so(docker: Docker, runner: ContainerRunner) -> None:
    """A missing container is not an error."""
    docker.answers("true")
    assert runner.alive()
    docker.answers("no such container", code=1)
    assert not runner.alive()


def test_what_docker_refuses_is_said_in_its_words(docker: Docker, runner: ContainerRunner) -> None:
    """The error has the image and Docker's answer."""
    docker.answers("no space left on device", code=125)
    with pytest.raises(NodeError, match=r"4\.3\.6-management.*no space left"):
        runner.launch()


def test_programs_run_inside_the_container(docker: Docker, runner: ContainerRunner) -> None:
    """Exit code and output come back."""
    docker.answers("4.3.6")
    code, out, _ = runner.tool("rabbitmqctl", "version", stdin="", timeout=60)
    assert (code, out.strip()) == (0, "4.3.6")
    assert docker.asked[-1].startswith("exec --interactive rabbitjobs-21001-")
    assert docker.asked[-1].endswith("rabbitmqctl version")

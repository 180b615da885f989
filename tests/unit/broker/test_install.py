"""Which RabbitMQ a private node runs: the order of the ways, and what a person is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rabbitjobs.broker import debian, install
from rabbitjobs.broker.install import Installation, Report
from rabbitjobs.errors import NodeError

OLD = Installation(kind="system", version="3.10.8", where="/old")
NEW = Installation(kind="system", version="4.1.2", where="/new")


class Machine:
    """A machine that has what the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.told: list[str] = []
        self._patch = monkeypatch
        self._folder = folder
        self.has(docker=False, system=None, beside=None, own_package=None)

    def has(
        self,
        *,
        docker: bool = False,
        system: Installation | None = None,
        beside: str | Exception | None = None,
        own_package: Installation | None = None,
    ) -> None:
        """``beside`` is the version that a chroot would hold, or the error of making it."""
        found = [system, own_package]
        self._patch.setattr(install, "docker_runs", lambda: docker)
        self._patch.setattr(install, "installed", lambda: found[0] or (found[1] and found.pop()))
        self._patch.setattr(debian, "provide", self._chroot(beside))
        self._patch.setattr(debian, "can_install", lambda: own_package is not None)
        self._patch.setattr(debian, "install_own_package", lambda: found.__setitem__(0, found[1]))

    def _chroot(self, beside: str | Exception | None) -> Callable[[str, Report], Path | None]:
        def provide(_version: str, _report: Report) -> Path | None:
            if isinstance(beside, Exception):
                raise beside
            if beside is None:
                return None
            (self._folder / "usr/lib/rabbitmq/bin").mkdir(parents=True, exist_ok=True)
            (self._folder / f"usr/lib/rabbitmq/lib/rabbitmq_server-{beside}").mkdir(parents=True)
            return self._folder

        return provide

    def provide(self, version: str | None = None) -> Installation:
        """What this machine runs."""
        return install.provide(version, report=self.told.append)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """A machine with nothing on it."""
    return Machine(monkeypatch, tmp_path)


def test_a_docker_engine_comes_first(machine: Machine) -> None:
    """With an engine, the image that docker-compose.yml names is run."""
    machine.has(docker=True, system=NEW, beside="4.3.6")
    assert machine.provide().where == install.IMAGES["4.3"]
    assert machine.told == []


def test_an_installed_server_of_version_4_is_taken_as_it_is(machine: Machine) -> None:
    """Nothing is installed where a server of today is there."""
    machine.has(system=NEW, beside="4.3.6")
    assert machine.provide() == NEW


def test_the_reference_version_stands_beside_an_old_server(machine: Machine) -> None:
    """Root on Debian gets 4.3 though 3.10 is installed."""
    machine.has(system=OLD, beside="4.3.6")
    found = machine.provide()
    assert (found.kind, found.version) == ("chroot", "4.3.6")


def test_an_old_server_is_used_with_a_warning_where_nothing_else_can_be_had(
    machine: Machine,
) -> None:
    """The warning says that guarantees are reduced."""
    machine.has(system=OLD)
    assert machine.provide() == OLD
    assert "reduced guarantees" in machine.told[-1]


def test_the_releases_own_package_is_the_last_way(machine: Machine) -> None:
    """A chroot that cannot be made is said, then the package is installed, with a warning."""
    machine.has(beside=NodeError("expected a mirror, got none"), own_package=OLD)
    assert machine.provide() == OLD
    assert any("expected a mirror" in line for line in machine.told)
    assert "reduced guarantees" in machine.told[-1]


def test_one_clear_message_says_what_to_install(machine: Machine) -> None:
    """No engine, no server, no root: the error names the ways out."""
    with pytest.raises(NodeError, match="start a Docker engine, or install rabbitmq-server 4"):
        machine.provide()


def test_a_version_that_was_asked_for_is_never_replaced_by_another(machine: Machine) -> None:
    """Asked for 4.0, a machine with 3.10 and 4.1 says that it has none."""
    machine.has(system=NEW)
    with pytest.raises(NodeError, match=r"expected RabbitMQ 4\.0, got none"):
        machine.provide("4.0")
    machine.has(docker=True, system=NEW)
    assert machine.provide("4.0").where == install.IMAGES["4.0"]


def test_an_unknown_version_is_refused() -> None:
    """The supported ones are named."""
    with pytest.raises(NodeError, match=r"4\.3, 4\.0, 3\.10"):
        install.provide("3.9")


@pytest.mark.parametrize(
    ("programs", "version"),
    [
        ("usr/lib/rabbitmq/lib/rabbitmq_server-4.3.6/sbin", "4.3.6"),
        ("opt/homebrew/Cellar/rabbitmq/4.1.4/sbin", "4.1.4"),
        ("opt/homebrew/Cellar/rabbitmq/4.1.4_1/sbin", "4.1.4"),
        ("somewhere/else", ""),
    ],
)
def test_the_version_is_read_from_the_folders(tmp_path: Path, programs: str, version: str) -> None:
    """No server has to be started to know its version."""
    (tmp_path / programs).mkdir(parents=True)
    assert install.version_in(tmp_path / programs) == version


def test_a_failed_installation_is_not_tried_again_by_every_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The reason is kept for some hours, with the file to remove for another try."""
    tries: list[str] = []

    def fail(version: str, _root: Path) -> None:
        tries.append(version)
        raise NodeError("expected a mirror, got none")

    monkeypatch.setattr(debian, "CACHE", tmp_path)
    monkeypatch.setattr(debian, "_make", fail)
    monkeypatch.setattr(debian, "can_install", lambda: True)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for _ in range(2):
        with pytest.raises(NodeError, match="expected a mirror"):
            debian.provide("4.3", lambda _line: None)
    assert tries == ["4.3"]
    (tmp_path / "rabbitmq-4.3.failed").unlink()
    with pytest.raises(NodeError):
        debian.provide("4.3", lambda _line: None)
    assert tries == ["4.3", "4.3"]

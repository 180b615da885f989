"""Which RabbitMQ a private node can run on this machine: find one, or install one.

``provide`` goes through the ways in a fixed order: a Docker engine, an
installed server of version 4 or newer, the reference version beside whatever
is there (root on Debian), an older server with a warning.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from rabbitjobs.broker import debian
from rabbitjobs.errors import NodeError

REFERENCE = "4.3"
SUPPORTED = ("4.3", "4.0", "3.10")
IMAGES = {
    "4.3": "rabbitmq:4.3.6-management",
    "4.0": "rabbitmq:4.0.9-management",
    "3.10": "rabbitmq:3.10.25-management",
}
_SYSTEM_FOLDERS = ("/usr/lib/rabbitmq/bin", "/opt/homebrew/sbin", "/usr/local/sbin")

Report = Callable[[str], None]


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """One RabbitMQ that can be started.

    ``where`` is the image's name, the chroot's folder, or the folder of the
    server's programs, as ``kind`` says.
    """

    kind: Literal["image", "chroot", "system"]
    version: str
    where: str

    def __str__(self) -> str:
        return f"RabbitMQ {self.version} ({self.kind} {self.where})"

    def is_there(self) -> bool:
        """Whether it can still be started (an image is always believed to be)."""
        return self.kind == "image" or Path(self.where).is_dir()


def provide(version: str | None = None, *, report: Report = lambda _line: None) -> Installation:
    """The RabbitMQ to run, installed now if need be (minutes, once for a machine).

    ``version`` is one of ``SUPPORTED``; None takes what the machine offers best.
    ``report`` gets a line for each slow step and each warning. Raises
    ``NodeError`` when nothing can be had, with what to install.
    """
    if version is not None:
        return _provide_exactly(version, report)
    system = installed()
    if docker_runs():
        return Installation(kind="image", version=REFERENCE, where=IMAGES[REFERENCE])
    if system is not None and major(system.version) >= 4:
        return system
    for found in _beside(REFERENCE, report):
        return found
    if system is None:
        system = _own_package(report)
    if system is None:
        raise NodeError(nothing_to_run())
    if major(system.version) < 4:
        report(f"warning: {system} is older than 4: reduced guarantees, see `rabbitjobs doctor`")
    return system


def _provide_exactly(version: str, report: Report) -> Installation:
    if version not in SUPPORTED:
        raise NodeError(f"expected a version out of {', '.join(SUPPORTED)}, got {version!r}")
    for found in _beside(version, report):
        return found
    system = installed()
    if system is not None and system.version.startswith(f"{version}."):
        return system
    if docker_runs():
        return Installation(kind="image", version=version, where=IMAGES[version])
    raise NodeError(
        f"expected RabbitMQ {version}, got none; start a Docker engine, "
        f"or run as root on Debian to install it beside whatever is there"
    )


def _beside(version: str, report: Report) -> Iterator[Installation]:
    """The chroot of this version, if there is one or one can be made here."""
    try:
        root = debian.provide(version, report)
    except NodeError as error:
        report(f"warning: {error}")
        return
    if root is not None:
        programs = root / _SYSTEM_FOLDERS[0].lstrip("/")
        yield Installation(kind="chroot", version=version_in(programs), where=str(root))


def _own_package(report: Report) -> Installation | None:
    if not debian.can_install():
        return None
    report("installing the release's own rabbitmq-server")
    debian.install_own_package()
    return installed()


def installed() -> Installation | None:
    """The server installed on this machine, or None."""
    found = shutil.which("rabbitmq-server")
    folders = [*_SYSTEM_FOLDERS, *([str(Path(found).resolve().parent)] if found else [])]
    for folder in folders:
        programs = Path(folder)
        # Debian's program in /usr/sbin changes user: the one behind it does not.
        if (programs / "rabbitmq-server").exists() and (programs / "rabbitmqctl").exists():
            version = version_in(programs)
            if version:
                return Installation(kind="system", version=version, where=folder)
    return None


def version_in(programs: Path) -> str:
    """The version of the server whose programs are in this folder, "" if it does not say."""
    places = (programs.parent / "lib", programs.resolve().parent.parent)
    names = [entry.name for place in places if place.is_dir() for entry in place.iterdir()]
    names += [programs.resolve().parent.name, *(part for part in programs.resolve().parts)]
    for name in names:
        match = re.fullmatch(r"(?:rabbitmq_server-)?(\d+\.\d+\.\d+)(?:_\d+)?", name)
        if match:
            return match[1]
    return ""


def major(version: str) -> int:
    """The first number of a version."""
    return int(version.split(".", 1)[0])


def docker_runs() -> bool:
    """Whether a Docker engine answers on this machine."""
    if shutil.which("docker") is None:
        return False
    try:
        answer = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.returncode == 0 and answer.stdout.strip() != ""


def nothing_to_run() -> str:
    """What to tell a person on whose machine no RabbitMQ can be had."""
    return (
        "expected a RabbitMQ to run, got none on this machine; start a Docker engine, "
        "or install rabbitmq-server 4 or newer (macOS: brew install rabbitmq), "
        "or run this as root on Debian"
    )

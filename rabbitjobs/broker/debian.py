"""Installs a RabbitMQ beside whatever a Debian machine has: one chroot for each version.

Each version that rabbitjobs supports stands in a release of Debian. The
chroots are shared by all checkouts of this machine (``/var/cache/rabbitjobs``)
and made under a lock, so that two set-ups at a time make one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from rabbitjobs.errors import NodeError

RELEASES = {"4.3": "forky", "4.0": "trixie", "3.10": "bookworm"}
CACHE = Path("/var/cache/rabbitjobs")
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
_TRY_AGAIN = timedelta(hours=6).total_seconds()
_SETTINGS = ("Acquire::http", "Acquire::https", "Acquire::Check-Valid-Until", "Acquire::Check-Date")


def can_install() -> bool:
    """Whether this is a Debian machine and we are root on it."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def provide(version: str, report: Callable[[str], None]) -> Path | None:
    """The chroot that holds this version, made now if it is missing.

    None where this machine cannot have one (no root, no Debian). Raises
    ``NodeError`` when making it failed.
    """
    root = CACHE / f"rabbitmq-{version}"
    if os.geteuid() != 0:
        return None
    if _is_whole(root):
        return root
    if not can_install():
        return None
    with _locked():
        if not _is_whole(root):
            _refuse_if_it_failed_lately(version)
            report(f"installing RabbitMQ {version} into {root} (about a minute, once)")
            try:
                _make(version, root)
            except NodeError as error:
                _failure(version).write_text(str(error), encoding="utf-8")
                raise
    return root


def _failure(version: str) -> Path:
    return CACHE / f"rabbitmq-{version}.failed"


def _refuse_if_it_failed_lately(version: str) -> None:
    # Every node would try again otherwise, half a minute each time.
    mark = _failure(version)
    if not mark.exists():
        return
    if time.time() - mark.stat().st_mtime < _TRY_AGAIN:
        reason = mark.read_text(encoding="utf-8")
        raise NodeError(f"{reason}\n(remove {mark} to try again at once)")
    mark.unlink(missing_ok=True)


def _is_whole(root: Path) -> bool:
    return (root / "usr/lib/rabbitmq/bin/rabbitmq-server").exists()


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(version: str, root: Path) -> None:
    release = RELEASES[version]
    scratch = root.with_name(f"{root.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    if shutil.which("debootstrap") is None or shutil.which("unshare") is None:
        apt_get("update")
        apt_get("install", "-y", "--no-install-recommends", "debootstrap", "util-linux")
    script = [] if (_SCRIPTS / release).exists() else ["sid"]
    _run("debootstrap", "--variant=minbase", release, str(scratch), mirror(), *script)
    _prepare(scratch)
    _run(*UNSHARE, "sh", "-ec", _INSTALL, "-", str(scratch))
    (scratch / "node").mkdir(exist_ok=True)
    if not _is_whole(scratch):
        raise NodeError(f"expected a rabbitmq-server from Debian {release}, got none; see above")
    shutil.rmtree(root, ignore_errors=True)
    scratch.rename(root)


# Mounts live in a namespace of their own and vanish with its last process. In a chroot "/" is
# no mount, so it cannot be made private, and need not be.
UNSHARE = ("unshare", "--mount", "--propagation", "unchanged")
MAKE_PRIVATE = "mount --make-rprivate / 2>/dev/null || true"

_INSTALL = f"""
{MAKE_PRIVATE}
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
chroot "$1" apt-get update
chroot "$1" apt-get install -y --no-install-recommends \
    -o Dpkg::Options::=--force-unsafe-io rabbitmq-server
chroot "$1" apt-get clean
"""


def _prepare(root: Path) -> None:
    # No service may start in there, and epmd needs a name for the loopback address.
    refuse = root / "usr/sbin/policy-rc.d"
    refuse.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    refuse.chmod(0o755)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n", encoding="utf-8")
    settings = _run("apt-config", "dump", "--format", '%f "%v";%n', *_SETTINGS)
    (root / "etc/apt/apt.conf.d/90host").write_text(settings, encoding="utf-8")
    for name in ("etc/ssl/certs/ca-certificates.crt",):
        if (source := Path("/", name)).exists() and not (root / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, root / name)


def mirror() -> str:
    """The address of Debian's archive in this machine's own apt configuration."""
    form = "$(CODENAME) $(REPO_URI)"
    lines = _run("apt-get", "indextargets", "--format", form, "Origin: Debian").splitlines()
    if not lines:
        apt_get("update")
        lines = _run("apt-get", "indextargets", "--format", form, "Origin: Debian").splitlines()
    for line in lines:
        codename, _, address = line.partition(" ")
        if codename and "-" not in codename:
            return address.strip()
    raise NodeError(
        "expected an archive of Debian in apt's configuration, got none; "
        "name one in /etc/apt/sources.list"
    )


def install_own_package() -> None:
    """Install the release's own rabbitmq-server, without starting a service."""
    refuse = Path("/usr/sbin/policy-rc.d")
    ours = not refuse.exists()
    if ours:
        refuse.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        refuse.chmod(0o755)
    try:
        apt_get("update")
        apt_get("install", "-y", "--no-install-recommends", "rabbitmq-server")
    finally:
        if ours:
            refuse.unlink(missing_ok=True)


def apt_get(*arguments: str) -> str:
    """Run apt-get without questions; returns what it printed, ``NodeError`` if it failed."""
    return _run("apt-get", *arguments)


def _run(*command: str) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-12:])
        raise NodeError(f"expected `{command[0]}` to succeed, got exit {done.returncode}:\n{tail}")
    return done.stdout

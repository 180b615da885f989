"""Runs a node as processes of this machine, in a chroot where the server stands in one."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import msgspec

from rabbitjobs.broker.debian import MAKE_PRIVATE, UNSHARE
from rabbitjobs.broker.install import Installation
from rabbitjobs.broker.layout import HOST, Identity, environment
from rabbitjobs.errors import NodeError

# Many nodes use the same chroot at a time, each with its own folder as /node.
_ENTER = (
    f"{MAKE_PRIVATE}; "
    'mount --bind "$2" "$1/node" && mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc"'
    ' && root=$1 && shift 2 && exec chroot "$root" "$@"'
)


class Process(msgspec.Struct, frozen=True):
    """A process that can be told from a later one with the same number."""

    pid: int
    born: str


class LocalRunner:
    """A server of this machine's own, or of a chroot of it, with its own epmd."""

    bind = HOST

    def __init__(self, installation: Installation, folder: Path, identity: Identity) -> None:
        self._installation = installation
        self._folder = folder
        self._identity = identity
        self._in_chroot = installation.kind == "chroot"
        self.inside = "/node" if self._in_chroot else str(folder)

    def launch(self) -> None:
        """Start epmd and the server; both outlive this process unless somebody ends them."""
        self.clear()
        if self._identity.own_epmd:
            self.launch_epmd()
        self._remember("server", self._spawn("rabbitmq-server"))

    def launch_epmd(self) -> None:
        """Start epmd alone: one for all nodes of a cluster."""
        port = str(self._identity.epmd_port)
        self._remember("epmd", self._spawn("epmd", "-port", port, "-address", HOST))

    def alive(self) -> bool:
        """Whether the server's process exists."""
        return self._find("server") is not None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server's process."""
        process = self._find("server")
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)
            if number == signal.SIGSTOP:
                wait_stopped(process.pid)

    def clear(self) -> None:
        """Kill the server's and epmd's process groups."""
        for name in ("server", "epmd"):
            process = self._find(name)
            if process is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                _reap(process.pid, block=True)
            self._file(name).unlink(missing_ok=True)

    def tool(self, name: str, *arguments: str, stdin: str, timeout: float) -> tuple[int, str, str]:
        """Run a program beside the server."""
        done = subprocess.run(
            self._command(name, *arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=self._environment(),
        )
        return done.returncode, done.stdout, done.stderr

    def last_resort(self) -> str:
        """Kill both process groups by number."""
        found = [process for name in ("server", "epmd") if (process := self._find(name))]
        return " ; ".join(f"kill -9 -{process.pid}" for process in found) or ":"

    def _spawn(self, name: str, *arguments: str) -> int:
        with self._output(name) as output:
            try:
                process = subprocess.Popen(
                    self._command(name, *arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=self._environment(),
                    start_new_session=True,
                )
            except OSError as error:
                raise NodeError(f"expected `{name}` to start, got {error}") from error
        # It lives longer than this object: clear() reaps it by its number.
        process.returncode = 0
        return process.pid

    def _output(self, name: str) -> IO[bytes]:
        return (self._folder / "log" / f"{name}.out").open("ab")

    def _command(self, name: str, *arguments: str) -> list[str]:
        program = self._program(name)
        if not self._in_chroot:
            return [program, *arguments]
        enter = [*UNSHARE, "sh", "-c", _ENTER, "-"]
        return [*enter, self._installation.where, str(self._folder), program, *arguments]

    def _program(self, name: str) -> str:
        if not name.startswith("rabbitmq"):
            return name
        if self._in_chroot:
            return f"/usr/lib/rabbitmq/bin/{name}"
        return str(Path(self._installation.where, name))

    def _environment(self) -> dict[str, str]:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        if not self._in_chroot:
            path = f"{os.environ.get('PATH', '')}:{path}"
        return {"PATH": path, **environment(self._identity, self.inside)}

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.process.json"

    def _remember(self, name: str, pid: int) -> None:
        self._file(name).write_bytes(msgspec.json.encode(Process(pid, _born(pid))))

    def _find(self, name: str) -> Process | None:
        try:
            process = msgspec.json.decode(self._file(name).read_bytes(), type=Process)
        except (OSError, msgspec.MsgspecError):
            return None
        _reap(process.pid)
        return process if process.born and _born(process.pid) == process.born else None


def _reap(pid: int, *, block: bool = False) -> None:
    """Take note of the end of a process if it was our child."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0 if block else os.WNOHANG)


def wait_stopped(pid: int) -> None:
    """Return once the kernel has stopped every thread; at once where the system does not say."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            threads = list(Path(f"/proc/{pid}/task").iterdir())
        except OSError:
            return
        if all(_state(thread) in "TtZX" for thread in threads):
            return
        time.sleep(0.005)


def _state(thread: Path) -> str:
    """The letter of a thread's state; "X" for one that has ended since it was listed."""
    try:
        return (thread / "stat").read_text().rpartition(")")[2][1]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def _born(pid: int) -> str:
    """When this process started, in the words of the system; "" when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "" if Path("/proc/self/stat").exists() else _born_by_ps(pid)
    fields = stat.rpartition(")")[2].split()
    # A zombie that nobody has reaped yet is gone all the same.
    return "" if fields[0] == "Z" else fields[19]


def _born_by_ps(pid: int) -> str:
    command = shlex.split(f"ps -o lstart= -p {pid}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()

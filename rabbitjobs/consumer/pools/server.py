"""The process server: imports the app once, and makes the children of a pool from it.

A worker has threads, and a fork of it could find any lock held for ever. This process has none: it
imports the app and does nothing but fork. An app whose import starts threads cannot be forked
either; then the server starts itself anew without the app, and each child imports it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import NamedTuple, NoReturn

import msgspec

from rabbitjobs.consumer.pools.child import Child, stay_with_worker
from rabbitjobs.consumer.pools.frames import Broken, Mark, Serving, Setup, encode
from rabbitjobs.consumer.pools.nursery import Nursery
from rabbitjobs.consumer.pools.protocol import Program
from rabbitjobs.job.registry import Registry

_PR_SET_PDEATHSIG = 1
# The C library, loaded before any fork.
_prctl = ctypes.CDLL(None, use_errno=True).prctl
_SERVER = "from rabbitjobs.consumer.pools.server import serve; serve()"
_CHILD = "from rabbitjobs.consumer.pools.server import spawned; spawned()"
# Read from a descriptor: command lines are everybody's to read, and a URL holds a password.
_PATH = (
    "import json, os, sys; n = int(sys.argv[1]); "
    "sys.path[:] = json.loads(os.pread(n, os.fstat(n).st_size, 0))['path']; "
)


class Pipe(NamedTuple):
    """What a child is born with."""

    descriptor: int
    mark: int


def written(setup: Setup) -> int:
    """A descriptor that the set-up can be read from, for the processes to inherit."""
    descriptor = os.memfd_create("rabbitjobs-setup", 0)
    os.write(descriptor, msgspec.json.encode(setup))
    return descriptor


def server_command(setup: int, control: int) -> list[str]:
    """The command of a process server that is controlled through the inherited ``control``."""
    return [sys.executable, "-c", _PATH + _SERVER, str(setup), str(control)]


def child_command(setup: int, pipe: Pipe) -> list[str]:
    """The command of a child that imports the app by itself."""
    numbers = (str(number) for number in (setup, pipe.descriptor, pipe.mark, os.getpid()))
    return [sys.executable, "-c", _PATH + _CHILD, *numbers]


def serve() -> None:
    """The program of the server: ends with the worker. Its forks come out of here as children."""
    setup = _setup()
    control = socket.socket(fileno=int(sys.argv[2]))
    os.set_inheritable(control.fileno(), False)
    stay_with_worker()
    registry = None
    if setup.forks:
        try:
            registry = load(setup.program)
        except BaseException:  # the import of the app is user code
            control.send(encode(Broken(traceback.format_exc()[-4000:])))
            _leave(1)
        threads = _threads()
        if threads:
            _again_without_forks(setup, control, threads)
        gc.collect()
        gc.freeze()  # what the collector never touches stays shared with the children
    control.send(encode(Serving(os.getpid(), tuple(sys.argv[3:]))))
    spawn = None if registry is not None else lambda pipe: _spawn(Pipe(*pipe))
    server = os.getpid()
    nursery = Nursery(control, spawn)
    born = nursery.serve()
    if born is None or registry is None:
        # Without exit handlers: it did nothing but import, and the worker waits for its end.
        _leave(0)
    _live(Pipe(*born), registry, setup, server)


def spawned() -> None:
    """The program of a child that is no fork."""
    setup = _setup()
    descriptor, mark, server = (int(number) for number in sys.argv[2:5])
    stay_with_worker()
    _live(Pipe(descriptor, mark), load(setup.program), setup, server)


def load(program: Program) -> Registry:
    """The jobs that a program knows; raises whatever its import raises."""
    module, _, name = program.target.partition(":")
    registry = getattr(importlib.import_module(module), name)(**program.arguments)
    if not isinstance(registry, Registry):
        raise TypeError(f"expected a Registry from {program.target}, got {type(registry).__name__}")
    return registry


def _setup() -> Setup:
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    text = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    return msgspec.json.decode(text, type=Setup)


def _live(pipe: Pipe, registry: Registry, setup: Setup, server: int) -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it was gone before we could ask to be told
        return
    for descriptor in pipe:
        os.set_inheritable(descriptor, False)
    end = socket.socket(fileno=pipe.descriptor)
    Child(end, Mark(pipe.mark), registry, measures=setup.measures).serve()


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _threads() -> tuple[str, ...]:
    """The names of all threads but this one, those of C libraries among them."""
    own = threading.get_native_id()
    found = []
    names = {thread.native_id: thread.name for thread in threading.enumerate()}
    for task in Path("/proc/self/task").iterdir():
        number = int(task.name)
        if number != own:
            with contextlib.suppress(OSError):  # it has ended since it was listed
                found.append(names.get(number) or (task / "comm").read_text().strip())
    return tuple(found)


def _again_without_forks(setup: Setup, control: socket.socket, threads: tuple[str, ...]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.set_inheritable(control.fileno(), True)
    anew = written(msgspec.structs.replace(setup, forks=False))
    os.execv(sys.executable, [*server_command(anew, control.fileno()), *threads])


def _spawn(pipe: Pipe) -> int:
    setup = int(sys.argv[1])
    process = subprocess.Popen(
        child_command(setup, pipe),
        pass_fds=(*pipe, setup),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.returncode = 0  # the nursery waits for it: not to be waited for here
    return process.pid

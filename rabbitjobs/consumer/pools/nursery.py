"""Where children are made, signalled and waited for: by one process without threads."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec

from rabbitjobs.consumer.pools.child import SOFT_SIGNAL
from rabbitjobs.consumer.pools.frames import (
    CONTROL_BYTES,
    Died,
    Fork,
    FromServer,
    Interrupt,
    Kill,
    Stop,
    ToServer,
    encode,
)

Spawn = Callable[[tuple[int, int]], int]
# What an idle child has to run its own exit handlers.
LEAVE_SECONDS = 2.0
# How often it is looked whether the worker lives, should a stray fork hold the control open.
LOOK_SECONDS = 5.0


class Nursery:
    """Does what the worker says through ``control``; ``spawn`` makes children that are no forks."""

    def __init__(self, control: socket.socket, spawn: Spawn | None) -> None:
        self._control = control
        self._spawn = spawn
        self._worker = os.getppid()
        self._decode = msgspec.msgpack.Decoder(ToServer).decode
        self._children: dict[int, tuple[int, int]] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)

    def serve(self) -> tuple[int, int] | None:
        """Serve until the worker is gone. In a child: its pipe and mark, at once after the fork."""
        while self._worker == os.getppid():
            for key, _ in self._selector.select(LOOK_SECONDS):
                if key.data is not None:
                    self._bury(key.data)
                    continue
                data, descriptors = self._receive()
                request = self._decode(data) if data else None
                if request is None or isinstance(request, Stop):
                    self._close(orderly=request is not None)
                    return None
                pipe = self._obey(request, descriptors)
                if pipe is not None:
                    return pipe
        self._close(orderly=False)
        return None

    def _receive(self) -> tuple[bytes, list[int]]:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, CONTROL_BYTES, 2, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            return b"", []
        return data, descriptors

    def _obey(
        self, request: Fork | Kill | Interrupt, descriptors: list[int]
    ) -> tuple[int, int] | None:
        if isinstance(request, Fork):
            return self._make(request.key, (descriptors[0], descriptors[1]))
        known = self._children.get(request.key)
        if known is None:
            return None
        with contextlib.suppress(ProcessLookupError):
            if isinstance(request, Kill):
                _kill(known[0])
            else:
                os.kill(known[0], SOFT_SIGNAL)
        return None

    def _make(self, key: int, pipe: tuple[int, int]) -> tuple[int, int] | None:
        try:
            pid = self._new(pipe)
        except OSError as error:  # no room for another process: those that are here go on
            print(f"no child process can be made: {error}", file=sys.stderr, flush=True)
            self._tell(Died(key, os.EX_OSERR))
            pid = None
        if pid == 0:
            self._forget()
            return pipe
        for descriptor in pipe:
            os.close(descriptor)
        if pid is not None:
            watch = os.pidfd_open(pid)
            self._children[key] = pid, watch
            self._selector.register(watch, selectors.EVENT_READ, key)
        return None

    def _new(self, pipe: tuple[int, int]) -> int:
        """The number of a new child; 0 in it."""
        if self._spawn is not None:
            return self._spawn(pipe)
        sys.stdout.flush()
        sys.stderr.flush()
        return os.fork()

    def _forget(self) -> None:
        """In the child: nothing of the server's is open here, and its session is its own."""
        os.setsid()
        self._selector.close()
        self._control.close()
        for _, watch in self._children.values():
            os.close(watch)

    def _bury(self, key: int) -> None:
        pid, watch = self._children.pop(key)
        self._selector.unregister(watch)
        os.close(watch)
        # Before it is waited for: until then its number, and so its group's, is nobody else's.
        ending = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        if ending is None or ending.si_code != os.CLD_EXITED or ending.si_status:
            _kill(pid)
        _, status = os.waitpid(pid, 0)
        self._tell(Died(key, os.waitstatus_to_exitcode(status)))

    def _tell(self, news: FromServer) -> None:
        with contextlib.suppress(ConnectionError):  # the worker is gone, as is seen soon
            self._control.send(encode(news))

    def _close(self, *, orderly: bool) -> None:
        """End every child; the worker has closed the pipes of those that are idle."""
        until = time.monotonic() + (LEAVE_SECONDS if orderly else 0.0)
        while self._children and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.data is not None:
                    self._bury(key.data)
                else:
                    data, _ = self._receive()
                    request = self._decode(data) if data else None
                    if request is None:
                        until = 0.0
                    elif not isinstance(request, Fork | Stop):
                        self._obey(request, [])
        for pid, _ in self._children.values():
            _kill(pid)
            os.waitpid(pid, 0)


def _kill(pid: int) -> None:
    """Kill a process that was not waited for yet, with its group once it has one of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)

"""A child: one job after the other, as they come through its pipe."""

from __future__ import annotations

import os
import signal
import socket
import threading
from types import FrameType

import msgspec

from rabbitjobs.consumer.pools.attempt import attempt
from rabbitjobs.consumer.pools.frames import (
    READ_BYTES,
    Done,
    Frames,
    Job,
    Mark,
    Progress,
    Ready,
    Stack,
    framed,
)
from rabbitjobs.consumer.pools.limited import Limited
from rabbitjobs.job.registry import Registry

SOFT_SIGNAL = signal.SIGUSR1
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Child:
    """Serves until the worker closes the pipe. Make it in the main thread of its process."""

    def __init__(
        self, pipe: socket.socket, mark: Mark, registry: Registry, *, measures: bool
    ) -> None:
        self._pipe = pipe
        self._registry = registry
        self._limited = Limited(mark, self._tell_stack)
        self._frames = Frames()
        self._decode = msgspec.msgpack.Decoder(Job).decode
        self._sending = threading.Lock()
        self._memory = os.open("/proc/self/statm", os.O_RDONLY) if measures else None
        self._pid = os.getpid()

    def serve(self) -> None:
        """Run jobs; returns when the worker wants no more."""
        stay_with_worker()
        signal.signal(SOFT_SIGNAL, self._limited.on_signal)
        self._send(Ready())
        while data := self._receive():
            for frame in self._frames.feed(data):
                self._run(self._decode(frame))

    def _receive(self) -> bytes:
        try:
            return self._pipe.recv(READ_BYTES)
        except ConnectionError:  # the worker is gone
            return b""

    def _run(self, job: Job) -> None:
        self._limited.begin(job.number)
        result, failure = attempt(self._registry, job.envelope, self._limited, self._note)
        if os.getpid() != self._pid:  # a fork that the job made, and that came back from it
            os._exit(0)
        self._send(Done(job.number, result, failure, self._resident()))

    def _note(self, job_id: str, progress: bytes) -> None:
        if os.getpid() == self._pid:
            self._send(Progress(job_id, progress))

    def _tell_stack(self, number: int, stack: str) -> None:
        if os.getpid() == self._pid:
            self._send(Stack(number, stack))

    def _send(self, frame: Ready | Done | Progress | Stack) -> None:
        data = framed(frame)
        shielded = self._limited.shield()
        try:
            with self._sending:
                self._pipe.sendall(data)
        except ConnectionError:
            os._exit(1)  # nobody is left to tell, and the job will be run elsewhere
        finally:
            if shielded:
                self._limited.unshield()

    def _resident(self) -> int:
        if self._memory is None:
            return 0
        return int(os.pread(self._memory, 100, 0).split()[1]) * _PAGE


def stay_with_worker() -> None:
    """End when the worker says so, and not by what the terminal or a service manager sends.

    No job is told to end by them either: the worker decides what is finished. Handlers and not
    "ignore", which a program that a job starts would inherit.
    """
    pid = os.getpid()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != pid:  # a fork that the job made: the signal is for that one
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, on_signal)

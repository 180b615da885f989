"""What a worker, its process server and its children say to each other: msgpack, never pickle."""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from rabbitjobs.consumer.pools.protocol import Program
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure

# Not more: from 128 KiB on the allocator maps fresh memory for every read.
READ_BYTES = 64 * 1024
CONTROL_BYTES = 64 * 1024
_LENGTH = struct.Struct("<I")
_NUMBER = struct.Struct("@Q")


class Setup(msgspec.Struct, frozen=True):
    """How the process server is to start: ``path`` is the import path of the worker.

    ``forks``: whether children may be forks of it; ``measures``: whether they say their memory.
    """

    program: Program
    path: tuple[str, ...]
    measures: bool = False
    forks: bool = True


# --- worker and child ----------------------------------------------------------------------------


class Job(msgspec.Struct, frozen=True, array_like=True):
    """One attempt for a child; ``number`` rises with each that this child gets."""

    number: int
    envelope: Envelope


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The child can take jobs."""


class Done(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The attempt has ended; ``memory`` is what the child holds now, in bytes, if it measures."""

    number: int
    result: bytes | None
    failure: Failure | None
    memory: int = 0


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A running job says how far it is."""

    job_id: str
    progress: bytes


# --- worker and process server -------------------------------------------------------------------


class Fork(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Make a child; its end of the pipe and its mark ride along as file descriptors."""

    key: int


class Kill(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Kill a child with everything in its process group."""

    key: int


class Interrupt(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Tell a child that its job has reached the soft limit."""

    key: int


class Stop(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """The worker stops in order: idle children end by themselves."""


class Serving(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The server is ready; ``threads`` are running in it, so that it must not fork."""

    pid: int
    threads: tuple[str, ...] = ()


class Broken(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The server cannot import the app."""

    reason: str


class Died(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """A child has ended: with an exit code, or killed by signal ``-code``."""

    key: int
    code: int


FromChild = Ready | Done | Progress
ToServer = Fork | Kill | Interrupt | Stop
FromServer = Serving | Broken | Died
encode = msgspec.msgpack.Encoder().encode


def framed(value: Any) -> bytes:
    """A value with its length in front, for a stream."""
    data = encode(value)
    return _LENGTH.pack(len(data)) + data


def received(pipe: socket.socket, most: int) -> bytes | None:
    """What has come through a pipe that does not block: ``None``: nothing yet, ``b""``: its end."""
    try:
        return pipe.recv(most)
    except BlockingIOError:
        return None
    except ConnectionError:
        return b""


class Frames:
    """Cuts what comes over a stream into frames."""

    __slots__ = ("_needed", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that are complete now; the rest is kept for the next call."""
        if self._rest:
            # Not cut before it is whole: a large frame comes in many pieces.
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end = 0, len(data)
        self._needed = 4
        while end - at >= 4:
            self._needed = 4 + _LENGTH.unpack_from(data, at)[0]
            if end - at < self._needed:
                break
            yield data[at + 4 : at + self._needed]
            at += self._needed
            self._needed = 4
        if at < end:
            self._rest += data[at:]


class Mark:
    """Two numbers in memory that a worker and one child share.

    ``started`` is the job that the child has begun: after its death the worker knows which job was
    only handed over. ``limited`` is the job whose soft limit is over: a signal that comes late
    finds another one running.
    """

    __slots__ = ("_memory", "descriptor")

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = os.memfd_create("rabbitjobs-mark")
            os.ftruncate(descriptor, mmap.PAGESIZE)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)

    @property
    def started(self) -> int:
        """The number of the job that has begun last."""
        return int(_NUMBER.unpack_from(self._memory, 0)[0])

    @started.setter
    def started(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, 0, number)

    @property
    def limited(self) -> int:
        """The number of the job whose soft limit is over."""
        return int(_NUMBER.unpack_from(self._memory, 8)[0])

    @limited.setter
    def limited(self, number: int) -> None:
        _NUMBER.pack_into(self._memory, 8, number)

    def close(self) -> None:
        """Let go of the memory; the other side keeps its own hold."""
        self._memory.close()
        os.close(self.descriptor)

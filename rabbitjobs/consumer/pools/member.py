"""The worker's side of one child: its pipe, its mark, and the call that it runs."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from rabbitjobs.consumer.pools.frames import (
    READ_BYTES,
    Frames,
    FromChild,
    Job,
    Mark,
    framed,
    received,
)
from rabbitjobs.consumer.pools.protocol import Ended
from rabbitjobs.message.envelope import Envelope

_decode = msgspec.msgpack.Decoder(FromChild).decode


@dataclass(slots=True, eq=False)
class Call:
    """One attempt that a pool was asked for; limits are in seconds, ``handed`` counts children."""

    envelope: Envelope
    future: asyncio.Future[Ended]
    soft: float | None = None
    hard: float | None = None
    handed: int = 0


class Member:
    """One child of a pool, as the worker sees it. ``heard`` gets each frame that comes from it.

    ``due``: another one is to take its place. ``doomed``: it was told to end, and gets no job.
    ``instead_of`` is the child whose place it takes when that one has no job.
    """

    def __init__(
        self,
        key: int,
        loop: asyncio.AbstractEventLoop,
        heard: Callable[[Member, FromChild], None],
    ) -> None:
        self.key = key
        self.ready_at: float | None = None
        self.jobs = 0
        self.call: Call | None = None
        self.limit_over = False
        self.due = False
        self.doomed = False
        self.instead_of: Member | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self._loop = loop
        self._heard = heard
        self._mark = Mark()
        self._frames = Frames()
        self._unsent = memoryview(b"")
        self._reading = True
        self._pipe, self._theirs = socket.socketpair()
        self._pipe.setblocking(False)
        loop.add_reader(self._pipe, self._read)

    def be_born(self, fork: Callable[[int, int, int], None]) -> None:
        """Have ``fork`` make the child with this key, its end of the pipe and its mark."""
        with self._theirs:
            fork(self.key, self._theirs.fileno(), self._mark.descriptor)

    @property
    def started(self) -> bool:
        """Whether the child has begun what it was handed last."""
        return self._mark.started == self.jobs

    def hand(self, call: Call) -> None:
        """Give it a job; only while it has none."""
        self.call = call
        self.jobs += 1
        call.handed += 1
        data = framed(Job(self.jobs, call.envelope))
        try:
            sent = self._pipe.send(data)
        except BlockingIOError:
            sent = 0
        except ConnectionError:  # it has died; the server says so in a moment
            return
        if sent < len(data):
            self._unsent = memoryview(data)[sent:]
            self._loop.add_writer(self._pipe, self._write)

    def limit(self) -> None:
        """Say in its memory that the soft limit of what it runs is over."""
        self._mark.limited = self.jobs

    def done(self) -> Call | None:
        """Take the call from it."""
        self._forget_timers()
        call, self.call = self.call, None
        return call

    def leave(self) -> None:
        """Let the child end: it runs out of jobs when its pipe ends."""
        with contextlib.suppress(OSError):
            self._pipe.shutdown(socket.SHUT_WR)

    def hear_out(self) -> None:
        """The child is gone: take in what it said last."""
        self._read(to_the_end=True)
        self._quiet()

    def close(self) -> None:
        """Let go of pipe and mark, after ``hear_out``."""
        self._forget_timers()
        self._pipe.close()
        self._mark.close()

    def _forget_timers(self) -> None:
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()

    def _quiet(self) -> None:
        self._reading = False
        self._loop.remove_reader(self._pipe)
        self._loop.remove_writer(self._pipe)

    def _read(self, *, to_the_end: bool = False) -> None:
        while self._reading and (data := received(self._pipe, READ_BYTES)) is not None:
            if not data:
                self._quiet()
                return
            for frame in self._frames.feed(data):
                self._heard(self, _decode(frame))
            if len(data) < READ_BYTES and not to_the_end:
                return

    def _write(self) -> None:
        try:
            sent = self._pipe.send(self._unsent)
        except BlockingIOError:
            return
        except ConnectionError:
            sent = len(self._unsent)
        self._unsent = self._unsent[sent:]
        if not self._unsent:
            self._loop.remove_writer(self._pipe)

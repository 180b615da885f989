"""Publishing over a link with a deadline: every message gets exactly one outcome.

Within its deadline a publish whose outcome is unknown is repeated with the same job id and a new
wire message id (two publishes in flight with one message id swap their results). After a channel
was closed by one bad message its neighbours are repeated one at a time, so that the bad one is
found by being alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec

from rabbitjobs.message.headers import AGAIN
from rabbitjobs.wire.link import Link
from rabbitjobs.wire.message_ids import fresh_message_id
from rabbitjobs.wire.protocol import (
    Confirmed,
    Outcome,
    Outgoing,
    Rejected,
    Unknown,
    Wire,
)

SWEEP_SECONDS = 0.1
# A connection on which nothing was confirmed for this long, though something waits, is given up.
# Shorter deadlines of single callers must not cut off everybody else.
SILENT_SECONDS = 5.0


class _Entry:
    __slots__ = ("deadline", "done", "lost", "message", "unsure")

    def __init__(
        self, message: Outgoing, deadline: float, done: Callable[[Outcome], None] | None
    ) -> None:
        self.message = message
        self.deadline = deadline
        self.done = done
        # An earlier try of it may be stored: with the channel that closed, or with the connection.
        self.unsure = False
        self.lost = False


def _renamed(message: Outgoing) -> Outgoing:
    properties = msgspec.structs.replace(message.properties, message_id=fresh_message_id())
    return msgspec.structs.replace(message, properties=properties)


def _repeated(message: Outgoing) -> Outgoing:
    """The same message once more: its twin may be stored, so the consumer shall look it up."""
    again = _renamed(message)
    headers = {**again.properties.headers, AGAIN: True}
    properties = msgspec.structs.replace(again.properties, headers=headers)
    return msgspec.structs.replace(again, properties=properties)


class Outbound:
    """Publishes over one link; everything is called on the I/O loop."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._wire: Wire | None = None
        self._waiting: deque[_Entry] = deque()
        self._suspects: deque[_Entry] = deque()
        self._flying: set[_Entry] = set()
        self._sweeping = False
        self._blocked = False
        self._closed = False
        self._silent_since: float | None = None
        link.listen(self)

    def publish(self, message: Outgoing, timeout: float, done: Callable[[Outcome], None]) -> None:
        """Publish within ``timeout`` seconds; ``done`` is called exactly once with the outcome."""
        if self._closed:
            done(Rejected("unavailable", "the connections of this process were closed"))
            return
        loop = asyncio.get_running_loop()
        if message.properties.message_id is None:
            message = _renamed(message)
        entry = _Entry(message, loop.time() + timeout, done)
        if not self._sweeping:  # first: should the client fail, the deadline holds all the same
            self._sweeping = True
            loop.call_later(SWEEP_SECONDS, self._sweep)
        if self._wire is None or self._blocked or self._suspects:
            self._waiting.append(entry)
        else:
            self._write(entry)

    def fire(self, message: Outgoing, done: Callable[[Outcome], None] = lambda _: None) -> None:
        """Publish an event: dropped when there is no connection; ``done`` may never be called."""
        if self._wire is not None and not self._blocked:
            self._wire.publish(message, done)

    def close(self) -> None:
        """Tell everybody who still waits; called when the link has been closed."""
        self._closed, self._wire = True, None
        for entry in (*self._waiting, *self._suspects, *self._flying):
            self._finish(entry, self._too_late(entry))
        self._waiting.clear()
        self._suspects.clear()
        self._flying.clear()

    @property
    def idle(self) -> bool:
        """Whether nothing waits for an outcome."""
        return not (self._waiting or self._suspects or self._flying)

    def link_up(self, wire: Wire, generation: int) -> None:
        """Write all that waited."""
        self._wire, self._blocked, self._silent_since = wire, False, None
        self._pump()

    def link_down(self, reason: str) -> None:
        """Hold what comes until there is a connection again."""
        self._wire = None

    def link_blocked(self, blocked: bool) -> None:
        """Hold what comes while an alarm is on: the broker would not read it."""
        self._blocked, self._silent_since = blocked, None
        if not blocked:
            self._pump()

    def _write(self, entry: _Entry) -> None:
        wire = self._wire
        assert wire is not None
        if self._silent_since is None:
            self._silent_since = asyncio.get_running_loop().time()
        self._flying.add(entry)
        wire.publish(entry.message, lambda outcome: self._outcome(wire, entry, outcome))

    def _outcome(self, wire: Wire, entry: _Entry, outcome: Outcome) -> None:
        if wire is self._wire and _connection_ended(outcome):
            self._wire = None  # it is told before the link is: what waits must not be written to it
        self._flying.discard(entry)
        self._silent_since = asyncio.get_running_loop().time() if self._flying else None
        if entry.done is None or self._closed:
            return  # its deadline has passed, the caller has been told
        if isinstance(outcome, Confirmed):
            self._finish(entry, outcome)
        elif isinstance(outcome, Unknown):
            self._again(entry, outcome)
        elif outcome.reason == "unavailable":
            self._waiting.append(entry)
        else:
            self._finish(entry, _rejected(entry, outcome))
        if self._suspects or self._waiting:
            self._pump()

    def _again(self, entry: _Entry, outcome: Unknown) -> None:
        entry.message = _repeated(entry.message)
        entry.unsure = True
        entry.lost = entry.lost or not outcome.channel
        (self._suspects if outcome.channel else self._waiting).append(entry)

    def _finish(self, entry: _Entry, outcome: Outcome) -> None:
        done, entry.done = entry.done, None
        if done is not None:
            done(outcome)

    def _pump(self) -> None:
        while self._wire is not None and not self._blocked:
            if self._suspects:
                if not self._flying:
                    self._write(self._suspects.popleft())
                return
            if not self._waiting:
                return
            self._write(self._waiting.popleft())

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for queue in (self._waiting, self._suspects):
            late = [entry for entry in queue if entry.deadline <= now]
            for entry in late:
                queue.remove(entry)
                self._finish(entry, self._too_late(entry))
        silent = [entry for entry in self._flying if entry.deadline <= now]
        for entry in silent:
            self._finish(entry, self._too_late(entry))
            self._flying.discard(entry)
        if silent:
            self._on_silence(now)
        if self.idle:
            self._sweeping = False
        else:
            loop.call_later(SWEEP_SECONDS, self._sweep)

    def _on_silence(self, now: float) -> None:
        waited = 0.0 if self._silent_since is None else now - self._silent_since
        if waited >= SILENT_SECONDS and not self._blocked:
            self._link.renew(f"nothing was confirmed for {waited:.0f} s")
        else:
            self._pump()

    def _too_late(self, entry: _Entry) -> Outcome:
        if entry.unsure or entry in self._flying:
            blocked = f"; {self._alarm()}" if self._blocked else ""
            return Unknown(f"no confirm came within the deadline{blocked}")
        if self._blocked:
            return Rejected("blocked", self._alarm())
        reason: Literal["access", "unavailable"] = "access" if self._link.refused else "unavailable"
        return Rejected(reason, self._link.trouble or "no connection within the deadline")

    def _alarm(self) -> str:
        known = self._wire.alarm if self._wire is not None else ""
        return f"an alarm of the broker blocks publishing ({known or 'memory or disk'})"


def _connection_ended(outcome: Outcome) -> bool:
    if isinstance(outcome, Unknown):
        return not outcome.channel
    return isinstance(outcome, Rejected) and outcome.reason == "unavailable"


def _rejected(entry: _Entry, outcome: Rejected) -> Outcome:
    """A rejection is certain only if no earlier try of the same message may be stored.

    A message that is refused alone is the one that closed the channel before.
    """
    if not entry.unsure or (outcome.reason == "refused" and not entry.lost):
        return outcome
    return Unknown(f"an earlier try got no answer, and the last was rejected: {outcome.text}")

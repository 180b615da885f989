"""The children of a pool: always as many as wanted, replaced when they are worn out or die."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import deque
from typing import Protocol

import structlog

from rabbitjobs.consumer.pools.frames import FromChild, Setup
from rabbitjobs.consumer.pools.link import ServerLink
from rabbitjobs.consumer.pools.member import Member
from rabbitjobs.consumer.pools.protocol import PoolOptions
from rabbitjobs.errors import WorkerError

log = structlog.get_logger("rabbitjobs.pools")
# A child that has not said that it is ready by then is killed, and counts as one that died.
START_SECONDS = 120.0
# What a child that is no longer needed has for its own exit handlers.
LEAVE_SECONDS = 10.0
# After a child or a server that died before it was ready; twice as long each time in a row.
FIRST_PAUSE_SECONDS = 0.25
# A child that has died without a job was no good if it was ready for less than this.
FINE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Keeper(Protocol):
    """Who has work for the children."""

    def heard(self, member: Member, frame: FromChild) -> None:
        """A child says something."""
        ...

    def joined(self, member: Member) -> None:
        """A child can take jobs from now on."""
        ...

    def left(self, member: Member) -> None:
        """A child without a job gets none any more."""
        ...

    def lost(self, member: Member, code: int | None) -> None:
        """A child has died: with its exit code, if that is known."""
        ...


class Brood:
    """Keeps ``options.size`` children for ``keeper``."""

    def __init__(self, options: PoolOptions, keeper: Keeper) -> None:
        self._options = options
        self._keeper = keeper
        if options.program is None:
            raise WorkerError(
                "expected an app that other processes can import, got none for pool processes"
            )
        measures = options.max_memory_per_child is not None
        self._setup = Setup(options.program, tuple(sys.path), measures=measures)
        self._members: dict[int, Member] = {}
        self._due: deque[Member] = deque()
        self._link: ServerLink | None = None
        self._serving = False
        self._keys = 0
        self._failures = 0
        self._failed_at = 0.0
        self._unhealthy = False
        self._pause: asyncio.TimerHandle | None = None
        self._stopped = False
        self.ended = asyncio.Event()

    # --- what the keeper asks for -----------------------------------------------------------------

    def start(self) -> None:
        """Start the process server; the children follow."""
        self._loop = asyncio.get_running_loop()
        self._link = ServerLink(self._setup, self)

    def stop(self) -> None:
        """End all of it: children without a job by themselves, the others by force."""
        self._stopped = True
        if self._pause is not None:
            self._pause.cancel()
        for member in self._members.values():
            if member.call is not None:
                self.kill(member)
            else:
                member.doomed = True
                member.leave()
        if self._link is not None:
            self._link.stop()
        else:
            self.ended.set()

    def kill(self, member: Member) -> None:
        """End a child by force, with everything in its process group."""
        member.doomed = True
        if self._link is not None:
            self._link.kill(member.key)

    def interrupt(self, member: Member) -> None:
        """The soft limit of what a child runs is over."""
        member.limit()
        if self._link is not None:
            self._link.interrupt(member.key)

    def renew(self, member: Member) -> None:
        """Have another child take the place of this one; one place at a time."""
        if not member.due:
            member.due = True
            self._due.append(member)
            self._fill()

    def settle(self, member: Member) -> None:
        """A child that is due has ended a job: if the next one is ready, it takes its place."""
        for other in self._members.values():
            if other.ready_at is not None and other.instead_of is member:
                self._swap(member, other)
                return

    # --- what the server tells --------------------------------------------------------------------

    def serving(self, threads: tuple[str, ...]) -> None:
        """See ``Listener``."""
        if threads:
            log.warning(
                "the import of the app starts threads: children are not forked from it, each "
                "imports it anew and shares no memory",
                threads=", ".join(threads),
            )
        self._serving = True
        self._fill()

    def died(self, key: int, code: int | None) -> None:
        """See ``Listener``."""
        member = self._members.pop(key)
        member.doomed = True
        member.hear_out()
        if member in self._due:
            self._due.remove(member)
        self._let_go(member)
        if member.ready_at is not None and not self._stopped:
            self._keeper.lost(member, code)
        member.close()
        if self._stopped:
            return
        if self._link is not None and self._stillborn(member):
            self._failed(f"a child process died at its start: {ending(code)}")
        self._fill()

    def gone(self, reason: str) -> None:
        """See ``Listener``."""
        self._link, self._serving = None, False
        for key in tuple(self._members):  # they die with it
            self.died(key, None)
        if self._stopped:
            self.ended.set()
        else:
            self._failed(f"the process server ended: {reason}")

    # --- making and replacing ---------------------------------------------------------------------

    def _fill(self) -> None:
        if self._link is None or not self._serving or self._stopped or self._pause is not None:
            return
        renewing = any(member.instead_of for member in self._members.values())
        try:
            for _ in range(self._options.size + renewing - len(self._members)):
                self._make(None)
            if self._due and not renewing:
                self._make(self._due[0])
                self._due.popleft()
        except OSError as error:  # too many open files
            self._failed(f"no child process can be made: {error}")

    def _make(self, instead_of: Member | None) -> None:
        assert self._link is not None
        self._keys += 1
        member = Member(self._keys, self._loop, self._keeper.heard)
        member.instead_of = instead_of
        member.timers.append(self._loop.call_later(START_SECONDS, self.kill, member))
        self._members[member.key] = member
        member.be_born(self._link.fork)

    def ready(self, member: Member) -> None:
        """A child says that it can take jobs."""
        member.done()
        member.ready_at = self._loop.time()
        if member.doomed:
            return
        if self._unhealthy:
            self._unhealthy = False
            log.info("child processes start again")
            self._options.report("")
        old = member.instead_of
        if old is None:
            self._keeper.joined(member)
        elif old.call is None:
            self._swap(old, member)

    def _swap(self, old: Member, new: Member) -> None:
        new.instead_of = None
        old.doomed = True
        self._keeper.left(old)
        old.leave()
        old.timers.append(self._loop.call_later(LEAVE_SECONDS, self.kill, old))
        self._keeper.joined(new)
        self._fill()

    def _let_go(self, member: Member) -> None:
        """Who was to be replaced is dead, or who was to replace it."""
        old = member.instead_of
        if old is not None:
            self._due.appendleft(old)
        for other in self._members.values():
            if other.instead_of is member:
                other.instead_of = None
                if other.ready_at is not None:
                    self._keeper.joined(other)

    # --- failing ----------------------------------------------------------------------------------

    def _stillborn(self, member: Member) -> bool:
        if member.jobs:
            return False
        return member.ready_at is None or self._loop.time() - member.ready_at < FINE_SECONDS

    def _failed(self, reason: str) -> None:
        # Not with the first child that is ready: it may be the next to die.
        if self._loop.time() - self._failed_at > 2 * LONGEST_PAUSE_SECONDS:
            self._failures = 0
        self._failed_at, self._unhealthy = self._loop.time(), True
        pause = min(FIRST_PAUSE_SECONDS * 2.0**self._failures, LONGEST_PAUSE_SECONDS)
        self._failures += 1
        log.error("unhealthy: child processes for jobs do not start", reason=reason, pause=pause)
        self._options.report(reason)
        if self._pause is None:
            self._pause = self._loop.call_later(pause, self._resume)

    def _resume(self) -> None:
        self._pause = None
        try:
            if self._link is None:
                self.start()
        except OSError as error:
            self._failed(f"no process server can be started: {error}")
        self._fill()


def ending(code: int | None) -> str:
    """How a process ended, in words."""
    if code is None:
        return "it ended with the process server"
    if code >= 0:
        return f"it ended with exit code {code}"
    names = {number.value: number.name for number in signal.Signals}
    return f"it was killed by signal {names.get(-code, -code)}"

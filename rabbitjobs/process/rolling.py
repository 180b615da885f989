"""The rolling restart: a new process consumes before the old one stops."""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from rabbitjobs.clock import now
from rabbitjobs.events import Bus, ProcessNotRenewed, ProcessRenewed
from rabbitjobs.process.child import Child

log = structlog.get_logger("rabbitjobs.supervisor")
# What a new process may take until it does its work.
TRIAL_SECONDS = 60.0


class Keeper(Protocol):
    """What the rolling restart needs of the supervisor."""

    children: list[Child]
    bus: Bus

    @property
    def stopping(self) -> bool:
        """Whether everything is to end."""
        ...

    def keep(self, child: Child) -> asyncio.Task[int]:
        """Keep a child running; the task ends with it."""
        ...

    def retire(self, child: Child) -> None:
        """End a child in order, and do not start it again."""
        ...


class Rolling:
    """Replaces the processes of a supervisor, one at a time and queue after queue."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Begin, or once more when the one that goes on is through: it may have the old code."""
        self._asked.set()

    async def run(self) -> None:
        """Do what is asked for, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._roll()

    async def _roll(self) -> None:
        """A queue whose first new process does not get to work keeps its old ones."""
        log.info("rolling restart begins", processes=len(self._keeper.children))
        renewed = kept = 0
        failed: set[str] = set()
        for old in tuple(self._keeper.children):
            if self._keeper.stopping:
                return
            if old.group in failed:
                kept += 1
            elif await self._replace(old):
                renewed += 1
            elif not self._keeper.stopping:
                failed.add(old.group)
                kept += 1
        log.info("rolling restart is over", renewed=renewed, kept=kept)

    async def _replace(self, old: Child) -> bool:
        new = Child(old.name, old.command, group=old.group, trial=True)
        life = self._keeper.keep(new)
        if not await self._proven(new, life):
            await self._drop(new, life, old)
            return False
        # From here on it is a process like every other, started again when it ends.
        new.trial = False
        self._keeper.retire(old)
        log.info("process renewed: the new one works, the old one stops", process=old.name)
        self._keeper.bus.emit(ProcessRenewed(at=now(), process=old.name))
        while old.process is not None and not self._keeper.stopping:
            old.news.clear()
            await old.news.wait()
        return True

    async def _proven(self, new: Child, life: asyncio.Task[int]) -> bool:
        """Whether it does its work in time."""
        try:
            async with asyncio.timeout(TRIAL_SECONDS):
                while not new.working:
                    new.news.clear()
                    hearing = asyncio.ensure_future(new.news.wait())
                    try:
                        await asyncio.wait({hearing, life}, return_when=asyncio.FIRST_COMPLETED)
                    finally:
                        hearing.cancel()
                    if life.done() or self._keeper.stopping:
                        return False
        except TimeoutError:
            return False
        return True

    async def _drop(self, new: Child, life: asyncio.Task[int], old: Child) -> None:
        """The new one did not get to work; the old one never stopped."""
        why = f"it is {new.state}" + (f": {new.reason}" if new.reason else "")
        if self._keeper.stopping:
            return
        log.error(
            "process not renewed: the new one did not get to work, the old one goes on",
            process=old.name,
            reason=why,
        )
        self._keeper.bus.emit(ProcessNotRenewed(at=now(), process=old.name, reason=why))
        self._keeper.retire(new)
        await asyncio.wait({life})

"""Which pool a job runs in: by its own word, or its queue's, or by its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

from rabbitjobs.consumer.pools.local import LocalPool
from rabbitjobs.consumer.pools.protocol import Pool, PoolOptions
from rabbitjobs.errors import WorkerError
from rabbitjobs.job.definition import Definition

MakePool = Callable[[PoolOptions], Pool]
GROUP: Final = "rabbitjobs.pools"
"""The entry points by which other packages add pools: names to callables as ``MakePool``."""
PROCESSES: Final = "processes"
SOLO: Final = "solo"
_LOCAL: Final = ("asyncio", "threads")
OURS: Final = (*_LOCAL, PROCESSES, SOLO)
"""The names of the pools that are always there."""


def known_pools() -> tuple[str, ...]:
    """The names that a job or a queue may say."""
    from importlib.metadata import entry_points

    return (*OURS, *sorted(entry_points(group=GROUP).names))


def fault_of(name: str, definition: Definition) -> str | None:
    """What is wrong with a job in the pool of this name, as what was expected; ``None`` if fine."""
    if name == "asyncio" and not definition.is_async:
        return "an async def for pool asyncio, or another pool"
    if name == "threads" and definition.is_async:
        return "a def for pool threads, or another pool"
    return None


class Pools:
    """The pools of one consumer, each made at its first use; ``usual`` is that of the queue.

    ``options_for`` says what the pool of a name is made from.
    """

    def __init__(
        self, options_for: Callable[[str], PoolOptions], *, usual: str | None = None
    ) -> None:
        self._options_for = options_for
        self._usual = usual
        self._pools: dict[str | None, Pool] = {}

    def start(self, definitions: Iterable[Definition]) -> None:
        """Get the pools ready that these jobs run in: at the start, not with the first message."""
        for definition in definitions:
            self.of(definition)

    def of(self, definition: Definition) -> Pool:
        """The pool for a job."""
        name = definition.pool or self._usual
        return self._pools.get(name) or self._make(name)

    def stop(self) -> None:
        """Stop every pool."""
        for pool in self._pools.values():
            pool.stop()

    async def ended(self) -> None:
        """Return when nothing is left of any pool, after ``stop``."""
        for pool in tuple(self._pools.values()):
            await pool.ended()

    def _make(self, name: str | None) -> Pool:
        if name is None or name in _LOCAL:
            pool = next((self._pools[one] for one in (None, *_LOCAL) if one in self._pools), None)
            pool = pool or LocalPool(self._options_for(name or "threads"))
        else:
            pool = _maker(name)(self._options_for(name))
        if pool not in self._pools.values():
            pool.start()
        self._pools[name] = pool
        return pool


def _maker(name: str) -> MakePool:
    # Imported where they are wanted: a worker without them starts sooner.
    if name == PROCESSES:
        from rabbitjobs.consumer.pools.processes import ProcessPool

        return ProcessPool
    if name == SOLO:
        from rabbitjobs.consumer.pools.solo import SoloPool

        return SoloPool
    from importlib.metadata import entry_points

    for found in entry_points(group=GROUP, name=name):
        return cast("MakePool", found.load())
    raise WorkerError(
        f"expected a pool ({', '.join(known_pools())}), got {name!r}; name another one, or install "
        f"what adds it to the entry points {GROUP!r}"
    )

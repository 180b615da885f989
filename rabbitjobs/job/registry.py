"""The jobs of one app, by name: the only place where a message's job name is looked up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from rabbitjobs.errors import RegistrationError
from rabbitjobs.job.definition import Definition


class Registry:
    """Names to definitions; nothing is ever imported because a message says so."""

    def __init__(self) -> None:
        self._jobs: dict[str, Definition] = {}

    def add(self, definition: Definition) -> None:
        """Register; a name that is taken by another function raises ``RegistrationError``."""
        known = self._jobs.get(definition.name)
        # The same file imported twice (as __main__ and by name, or on reload) is no conflict.
        if known is not None and known.source != definition.source:
            raise RegistrationError(
                f"expected a new name, got one that {known.source} has registered; "
                "give the job a name of its own with name=",
                job=definition.name,
            )
        self._jobs[definition.name] = definition

    def get(self, name: str) -> Definition | None:
        """The job of this name, if its code is here."""
        return self._jobs.get(name)

    def __iter__(self) -> Iterator[Definition]:
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    def hard_limits(self) -> dict[str, tuple[timedelta | None, ...]]:
        """The hard limit of each job, by queue."""
        found: dict[str, tuple[timedelta | None, ...]] = {}
        for job in self._jobs.values():
            found[job.queue] = (*found.get(job.queue, ()), job.hard_limit)
        return found

    def queues(self) -> tuple[str, ...]:
        """Every queue that a registered job names, in the order of first mention."""
        return tuple(dict.fromkeys(definition.queue for definition in self._jobs.values()))

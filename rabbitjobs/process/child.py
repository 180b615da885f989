"""One process under a supervisor: what is known of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(eq=False)
class Child:
    """One process that is kept running: its name and command, and where it stands."""

    name: str
    command: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None
    # The processes of one queue are replaced one after the other.
    group: str = ""
    state: str = "starting"
    reason: str = ""
    restarts: int = 0
    since: float = 0.0
    failures: int = 0
    renewing: bool = False
    # A process of a rolling restart that has yet to prove itself: it is not started again.
    trial: bool = False
    # Set when another process has taken its place, or is no longer to: it ends for good.
    leaving: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    # Set at each change of its state, and when a pause before its restart is to end.
    news: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    watching: list[asyncio.Task[None]] = field(default_factory=list, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process else None

    @property
    def working(self) -> bool:
        """Whether it does its work now."""
        return self.process is not None and self.state == "consuming"

    def stands(self, state: str, reason: str = "") -> None:
        """It is in another state now."""
        self.state, self.reason = state, reason
        self.news.set()

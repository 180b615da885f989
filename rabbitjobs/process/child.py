"""One process under a supervisor: what is known of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class Child:
    """One process that is kept running: its name and command, and where it stands."""

    name: str
    command: tuple[str, ...]
    process: asyncio.subprocess.Process | None = None
    state: str = "starting"
    reason: str = ""
    restarts: int = 0
    since: float = 0.0
    failures: int = 0
    renewing: bool = False
    watching: list[asyncio.Task[None]] = field(default_factory=list, repr=False)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self.process.pid if self.process else None

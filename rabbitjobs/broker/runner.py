"""How a node's server is run: as a process of this machine, or in a container.

Both see the node's folder and environment the same way (layout.py), so the
node itself does not know which of them it has.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Protocol

from rabbitjobs.broker.install import Installation
from rabbitjobs.broker.layout import Identity


class Runner(Protocol):
    """Starts, signals and ends one server; every call works from any process of the same user."""

    bind: str
    """The address that the server listens on, as it sees it."""
    inside: str
    """The node's folder, as the server sees it."""

    def launch(self) -> None:
        """Start the server and return at once; ``NodeError`` when it cannot be started at all."""
        ...

    def alive(self) -> bool:
        """Whether the server's process exists (paused ones do)."""
        ...

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the server's process; nothing happens when it is gone."""
        ...

    def clear(self) -> None:
        """End at once whatever is left of the server and its companions."""
        ...

    def tool(self, name: str, *arguments: str, stdin: str, timeout: float) -> tuple[int, str, str]:
        """Run one of RabbitMQ's or Erlang's programs beside the server: exit code and outputs."""
        ...

    def last_resort(self) -> str:
        """A shell command that ends everything at once; it runs when our process has died."""
        ...


def make_runner(installation: Installation, folder: Path, identity: Identity) -> Runner:
    """The runner that fits the installation."""
    if installation.kind == "image":
        from rabbitjobs.broker.container import ContainerRunner

        return ContainerRunner(installation, folder, identity)
    from rabbitjobs.broker.local import LocalRunner

    return LocalRunner(installation, folder, identity)

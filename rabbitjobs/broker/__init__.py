"""Private RabbitMQ nodes: find a server on this machine, start it, stop it, break it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rabbitjobs.broker.node import Node as Node

__all__ = ["Node", "running_url"]


def running_url() -> str | None:
    """The URL of the user's running private node; ``None`` if there is none."""
    from rabbitjobs.broker import state

    return state.running_url()


def __getattr__(name: str) -> Any:
    # A node needs subprocesses, sockets and HTTP: nobody who only publishes shall import them.
    if name == "Node":
        from rabbitjobs.broker.node import Node

        return Node
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

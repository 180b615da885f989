"""What stands on the broker in memory: declaring, binding, deleting, finding."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from rabbitjobs.errors import ChannelClosed
from rabbitjobs.wire.memory_queue import Queue
from rabbitjobs.wire.memory_router import Exchange, Router


class MemoryTopology:
    """The exchanges and queues of one broker, under one lock, ``changed``."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self._router = Router()
        self._queues: dict[str, Queue] = {}
        self._timed: dict[str, Queue] = {}

    def declare_exchange(
        self,
        name: str,
        kind: str = "direct",
        *,
        arguments: Mapping[str, Any] | None = None,
        internal: bool = False,
    ) -> None:
        """Declare a ``direct``, ``topic`` or ``fanout`` exchange.

        Raises ``ChannelClosed`` (406) if it exists and is different.
        """
        with self.changed:
            self._router.declare(name, kind, arguments=arguments, internal=internal)

    def declare_queue(
        self, name: str, *, arguments: Mapping[str, Any] | None = None, owner: object = None
    ) -> None:
        """Declare a queue; ``owner`` is the only connection that may use it, and takes it along.

        What a policy would set is given as arguments too, with ``x-`` in front. Raises
        ``ChannelClosed`` (406) if it exists with other arguments.
        """
        with self.changed:
            queue = self._queues.setdefault(name, Queue(name, arguments or {}, owner))
            if queue.arguments != dict(arguments or {}):
                raise ChannelClosed(f"PRECONDITION_FAILED - queue '{name}' differs", code=406)
            if queue.argument("message-ttl") is not None or queue.argument("dead-letter-exchange"):
                self._timed[name] = queue

    def bind(
        self, source: str, destination: str, key: str = "", *, to_exchange: bool = False
    ) -> None:
        """Bind a queue, or an exchange, to the exchange ``source``.

        Raises ``ChannelClosed`` (404) if one of them does not exist.
        """
        with self.changed:
            if not to_exchange:
                self.queue(destination)
            self._router.bind(source, destination, key, is_queue=not to_exchange)

    def delete_queue(self, name: str) -> None:
        """Delete a queue with its messages; its consumers are cancelled."""
        with self.changed:
            queue = self._queues.pop(name, None)
            self._timed.pop(name, None)
            self._router.forget(name, is_queue=True)
            for consumer in list(queue.consumers) if queue else ():
                consumer.cancelled_by_broker(f"queue '{name}' was deleted")
            self.changed.notify_all()

    def delete_exchange(self, name: str) -> None:
        """Delete an exchange; the queues bound to it stay."""
        with self.changed:
            self._router.forget(name, is_queue=False)

    def exchange(self, name: str) -> Exchange:
        """One exchange. Raises ``ChannelClosed`` (404)."""
        with self.changed:
            return self._router.exchange(name)

    def queue(self, name: str, *, user: object = None) -> Queue:
        """One queue, as the connection ``user`` may see it.

        Raises ``ChannelClosed``: 404, or 405 for another connection's exclusive queue.
        """
        with self.changed:
            queue = self._queues.get(name)
            if queue is None:
                raise ChannelClosed(f"NOT_FOUND - no queue '{name}'", code=404, queue=name)
            if queue.owner is not None and user is not None and queue.owner is not user:
                text = f"RESOURCE_LOCKED - '{name}' belongs to another connection"
                raise ChannelClosed(text, code=405, queue=name)
            return queue

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of all queues."""
        with self.changed:
            return tuple(self._queues)

"""The exchanges of the broker in memory: bindings, topics, alternates; a key in, queues out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from rabbitjobs.errors import ChannelClosed


class Exchange(msgspec.Struct):
    """One exchange. ``bindings`` holds (routing key, leads to a queue, destination)."""

    name: str
    kind: str
    alternate: str | None = None
    internal: bool = False
    bindings: list[tuple[str, bool, str]] = []

    def matches(self, key: str) -> list[tuple[bool, str]]:
        """The destinations of a routing key, as (is a queue, name)."""
        return [
            (is_queue, name)
            for pattern, is_queue, name in self.bindings
            if self.kind == "fanout" or pattern == key or self._is_topic_match(pattern, key)
        ]

    def _is_topic_match(self, pattern: str, key: str) -> bool:
        return self.kind == "topic" and topic_matches(pattern.split("."), key.split("."))


def topic_matches(pattern: list[str], words: list[str]) -> bool:
    """AMQP's topic rule: ``*`` stands for one word, ``#`` for any number of words."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(topic_matches(pattern[1:], words[at:]) for at in range(len(words) + 1))
    if not words or pattern[0] not in ("*", words[0]):
        return False
    return topic_matches(pattern[1:], words[1:])


class Router:
    """All exchanges of one broker; it knows queues by name only."""

    def __init__(self) -> None:
        self._exchanges = {"": Exchange("", "default")}

    def declare(
        self, name: str, kind: str, *, arguments: Mapping[str, Any] | None, internal: bool
    ) -> None:
        """Declare an exchange. Raises ``ChannelClosed`` (406) if it exists and is different."""
        alternate = (arguments or {}).get("alternate-exchange")
        found = self._exchanges.setdefault(name, Exchange(name, kind, alternate, internal))
        if (found.kind, found.alternate, found.internal) != (kind, alternate, internal):
            raise ChannelClosed(f"PRECONDITION_FAILED - exchange '{name}' differs", code=406)

    def exchange(self, name: str) -> Exchange:
        """One exchange. Raises ``ChannelClosed`` (404)."""
        if name not in self._exchanges:
            raise ChannelClosed(f"NOT_FOUND - no exchange '{name}'", code=404)
        return self._exchanges[name]

    def bind(self, source: str, destination: str, key: str, *, is_queue: bool) -> None:
        """Bind; a second time does nothing. Raises ``ChannelClosed`` (404)."""
        bindings = self.exchange(source).bindings
        if not is_queue:
            self.exchange(destination)
        if (key, is_queue, destination) not in bindings:
            bindings.append((key, is_queue, destination))

    def forget(self, destination: str, *, is_queue: bool) -> None:
        """A queue or an exchange is gone, and every binding to it."""
        if not is_queue:
            self._exchanges.pop(destination, None)
        for exchange in self._exchanges.values():
            exchange.bindings = [
                each for each in exchange.bindings if each[1:] != (is_queue, destination)
            ]

    def route(self, exchange: str, key: str) -> tuple[str, ...]:
        """The queues of a key, each once, through bound exchanges and unused alternates.

        The default exchange names any queue, so a name that comes out may not exist.
        """
        names: dict[str, None] = {}
        todo, seen = [exchange], {exchange}
        while todo:
            found = self._exchanges.get(todo.pop())
            if found is None:
                continue
            targets = [(True, key)] if found.kind == "default" else found.matches(key)
            if not targets and found.alternate is not None:
                targets = [(False, found.alternate)]
            names.update((name, None) for is_queue, name in targets if is_queue)
            further = {name for is_queue, name in targets if not is_queue} - seen
            seen |= further
            todo += further
        return tuple(names)

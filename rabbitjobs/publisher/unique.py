"""What ``unique=`` needs of a store: a key that one job holds until it has ended."""

from __future__ import annotations

from typing import Protocol

from rabbitjobs.message.envelope import Envelope


class UniqueKeys(Protocol):
    """Claims and releases keys; two senders of one key at the same time: exactly one wins."""

    def claim(self, key: str, envelope: Envelope) -> str | None:
        """The id of the job that holds the key; ``None`` if it is now held by ``envelope``."""
        ...

    def release(self, key: str, envelope: Envelope) -> None:
        """Let the key go again: the job was certainly not sent."""
        ...

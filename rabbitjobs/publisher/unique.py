"""What ``unique=`` needs of a store: a key that one job holds until it has ended."""

from __future__ import annotations

from typing import Protocol

from rabbitjobs.message.envelope import Envelope


class UniqueKeys(Protocol):
    """Claims, keeps and releases the key in ``envelope.unique``.

    Of two senders of one key at the same time exactly one wins. A claim is short: a sender that
    dies between claim and publish must not keep a key for a job that was never sent.
    """

    def claim(self, envelope: Envelope, seconds: float) -> str | None:
        """The id of the job that holds the key; ``None``: ``envelope`` holds it now."""
        ...

    def keep(self, envelope: Envelope) -> None:
        """The job is stored: hold the key until it has ended."""
        ...

    def release(self, envelope: Envelope) -> None:
        """Let the key go again: the job was certainly not sent."""
        ...

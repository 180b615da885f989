"""The broker behind a desk under test."""

from __future__ import annotations

from rabbitjobs.store.outbox import OutboxRow


class Broker:
    """Takes what the desk publishes, or fails as told."""

    def __init__(self) -> None:
        self.sent: list[OutboxRow] = []
        self.error: Exception | None = None

    def __call__(self, row: OutboxRow) -> None:
        """Publish a row."""
        if self.error is not None:
            raise self.error
        self.sent.append(row)

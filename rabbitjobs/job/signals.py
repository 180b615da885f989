"""What a job may raise to say how it wants to end."""

from __future__ import annotations

from datetime import timedelta


class Signal(Exception):
    """The root of the three signals; the job's attempt ends here."""

    def __init__(self, reason: str = "") -> None:
        self.reason = str(reason)
        super().__init__(reason)


class Retry(Signal):
    """Run this job again, after ``delay`` or else by its retry policy. Counts as an attempt.

    When the attempts of its retry policy are used up, or ``delay`` is longer than the topology's
    longest, it goes to review.
    """

    def __init__(self, reason: str = "", *, delay: timedelta | None = None) -> None:
        if delay is not None and not isinstance(delay, timedelta):
            raise TypeError(f"expected delay as a timedelta, got {type(delay).__name__}")
        self.delay = delay
        super().__init__(reason)


class Ignore(Signal):
    """End this job without success and without alarm; a record is kept."""


class Review(Signal):
    """Put this job on a person's desk."""

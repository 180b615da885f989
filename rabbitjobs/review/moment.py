"""Times as texts."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at: float | None) -> str:
    """A time in UTC; empty for none. A message may claim a time that no calendar has."""
    if at is None:
        return ""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return f"{at:.0f} s after 1970"

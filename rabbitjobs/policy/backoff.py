"""From a backoff written in words to the list of delays it means: pure, computed once.

The growth follows tenacity's wait strategies. Chance comes later: jitter spreads
a computed delay when a job is retried.
"""

from __future__ import annotations

from datetime import timedelta

_MILLISECOND = timedelta(milliseconds=1)


def fixed(attempts: int, delay: timedelta) -> tuple[timedelta, ...]:
    """The same ``delay`` before every attempt after the first."""
    return (_whole(delay),) * (attempts - 1)


def exponential(
    attempts: int, first: timedelta, *, cap: timedelta, factor: float = 2.0
) -> tuple[timedelta, ...]:
    """``first`` before attempt 2, then ``factor`` times more each time, never above ``cap``."""
    from tenacity import RetryCallState, wait_exponential

    limit = cap.total_seconds()
    wait = wait_exponential(multiplier=first.total_seconds(), exp_base=factor, max=limit)

    def before(attempt: int) -> timedelta:
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = attempt - 1
        return _whole(timedelta(seconds=wait(state)))

    return tuple(before(attempt) for attempt in range(2, attempts + 1))


def _whole(delay: timedelta) -> timedelta:
    """Round up to whole milliseconds, the unit of a queue's time to live."""
    return -(-delay // _MILLISECOND) * _MILLISECOND

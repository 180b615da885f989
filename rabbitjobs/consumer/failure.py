"""Exceptions to plain data: what rules compare and people read."""

from __future__ import annotations

import traceback
from datetime import timedelta
from types import TracebackType
from typing import Final, Literal

from rabbitjobs.job.signals import Ignore, Retry, Review, Signal
from rabbitjobs.policy.decision import Failure, FailureKind
from rabbitjobs.policy.rules import class_names
from rabbitjobs.store.text import storable

MESSAGE_KEPT = 2000
TRACEBACK_KEPT = 16_000
CLASSES_KEPT = 40
NAME_KEPT = 255
_Signal = Literal["retry", "ignore", "review"]
_SIGNALS: Final[tuple[tuple[type[Signal], _Signal], ...]] = (
    (Retry, "retry"),
    (Ignore, "ignore"),
    (Review, "review"),
)


def failure_of(error: BaseException, kind: FailureKind = "error") -> Failure:
    """The failure for an exception; never raises, whatever user code made of the exception.

    Every text of it can be encoded and stored: lone surrogates, as in undecodable file names,
    are written as escapes.
    """
    signal = _signal(error)
    cause = error.__cause__ if signal else None
    classes = _classes(error)
    return Failure(
        kind="signal" if signal else kind,
        signal=signal,
        error_type=_classes(cause)[0] if cause else classes[0],
        error=_text(error) or (_text(cause) if cause else ""),
        classes=classes,
        traceback=_traceback(error),
        delay=_delay(error),
    )


def plain_failure(kind: FailureKind, error: str) -> Failure:
    """A failure that no exception of user code stands behind."""
    return Failure(kind=kind, error_type=kind, error=error[:MESSAGE_KEPT])


def _signal(error: BaseException) -> _Signal | None:
    return next((name for kind, name in _SIGNALS if isinstance(error, kind)), None)


def _delay(error: BaseException) -> float | None:
    delay = getattr(error, "delay", None) if isinstance(error, Retry) else None
    return delay.total_seconds() if isinstance(delay, timedelta) else None


def _classes(error: BaseException) -> tuple[str, ...]:
    names = class_names(type(error))[:CLASSES_KEPT]
    return tuple(storable(name)[:NAME_KEPT] for name in names)


def _text(error: BaseException) -> str:
    try:
        return storable(str(error)[:MESSAGE_KEPT])
    except BaseException as broken:  # __str__ of user code
        return f"<no text: {type(broken).__name__} in __str__>"


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
        text = storable("".join(lines))
    except BaseException as broken:  # formatting calls __str__ and __repr__ of user code
        return f"<no traceback: {type(broken).__name__}>"
    return text if len(text) <= TRACEBACK_KEPT else f"...\n{text[-TRACEBACK_KEPT:]}"


def _own(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the worker's own frames at the top: they tell a reader nothing."""
    while frames is not None and "/rabbitjobs/consumer/" in frames.tb_frame.f_code.co_filename:
        if frames.tb_next is None:
            return frames
        frames = frames.tb_next
    return frames

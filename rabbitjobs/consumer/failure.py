"""Exceptions to plain data: what rules compare and people read."""

from __future__ import annotations

import traceback
from types import TracebackType

from rabbitjobs.job.signals import Ignore, Retry, Review, Signal
from rabbitjobs.policy.decision import Failure, FailureKind
from rabbitjobs.policy.rules import class_names

MESSAGE_KEPT = 2000
TRACEBACK_KEPT = 16_000
_SIGNALS = {Retry: "retry", Ignore: "ignore", Review: "review"}


def failure_of(error: BaseException, kind: FailureKind = "error") -> Failure:
    """The failure for an exception; never raises, whatever the exception's ``__str__`` does."""
    classes = class_names(type(error))
    if isinstance(error, Signal):
        return _of_signal(error, classes)
    return Failure(
        kind=kind,
        error_type=classes[0],
        error=_text(error),
        classes=classes,
        traceback=_traceback(error),
    )


def plain_failure(kind: FailureKind, error: str) -> Failure:
    """A failure that no exception of user code stands behind."""
    return Failure(kind=kind, error_type=kind, error=error[:MESSAGE_KEPT])


def _of_signal(error: Signal, classes: tuple[str, ...]) -> Failure:
    delay = error.delay.total_seconds() if isinstance(error, Retry) and error.delay else None
    cause = error.__cause__
    for kind in (Retry, Ignore, Review):
        if isinstance(error, kind):
            return Failure(
                kind="signal",
                signal=_SIGNALS[kind],  # type: ignore[arg-type]
                error_type=class_names(type(cause))[0] if cause else classes[0],
                error=error.reason or (_text(cause) if cause else ""),
                classes=classes,
                traceback=_traceback(error),
                delay=delay,
            )
    return Failure(kind="error", error_type=classes[0], error=_text(error), classes=classes)


def _text(error: BaseException) -> str:
    try:
        return str(error)[:MESSAGE_KEPT]
    except Exception as broken:  # __str__ of user code
        return f"<no text: {type(broken).__name__} in __str__>"


def _traceback(error: BaseException) -> str:
    try:
        lines = traceback.format_exception(type(error), error, _own(error.__traceback__))
        text = "".join(lines)
    except Exception as broken:  # formatting calls __str__ and __repr__ of user code
        return f"<no traceback: {type(broken).__name__}>"
    return text if len(text) <= TRACEBACK_KEPT else f"...\n{text[-TRACEBACK_KEPT:]}"


def _own(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the worker's own frames at the top: they tell a reader nothing."""
    while frames is not None and "/rabbitjobs/consumer/" in frames.tb_frame.f_code.co_filename:
        if frames.tb_next is None:
            return frames
        frames = frames.tb_next
    return frames

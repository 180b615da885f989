"""What went wrong, and what is to be done about it: two frozen values."""

from __future__ import annotations

from typing import Literal

import msgspec

FailureKind = Literal[
    "error",  # the job raised
    "signal",  # the job raised Retry, Ignore or Review
    "crash",  # its process died with it
    "timeout",  # it ran longer than its hard limit and was ended by force
    "arguments",  # the arguments do not fit the job
    "unknown-job",  # nobody registered the job here
    "undecodable",  # the message cannot be read
    "unstorable",  # it ran, and the store refuses what came of it
    "expired",  # it came after its expiry
    "cancelled",  # somebody asked that it ends
    "approval",  # it has not run: it waits for a person's yes
]
Do = Literal[
    "retry",
    "ignore",
    "review",
    "quarantine",
    "expire",
    "cancel",
    "discard",  # a person's decision on the desk, never a rule's
]


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why an attempt did not succeed, as plain data.

    ``classes`` are the dotted names along the error's class chain (method resolution order), most
    derived first: rules compare these strings, nothing is imported. ``error`` is the message,
    ``traceback`` text. ``delay`` is what a ``Retry`` signal asked for, in seconds.
    """

    kind: FailureKind
    error_type: str
    error: str
    classes: tuple[str, ...] = ()
    traceback: str = ""
    signal: Literal["retry", "ignore", "review"] | None = None
    delay: float | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What is done with a failed attempt.

    ``delay`` (seconds) is set for ``retry`` only. ``notify`` combines with any ``do``. ``rule``
    names in words the rule that decided, for the desk and the log. ``keep`` of 0 keeps no record of
    what is ignored, ``None`` means as the queue says. ``counts`` false: the retry is the same
    attempt once more, because nothing has been tried.
    """

    do: Do
    rule: str
    delay: float | None = None
    notify: bool = False
    keep: int | None = None
    counts: bool = True

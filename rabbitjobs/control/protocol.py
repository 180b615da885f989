"""What is said over the control exchange: requests to workers, and their answers. Version 1.

Frozen values as JSON. A worker acts on a request that it can read whole, and on nothing else: an
unknown command or field, another version or too much of anything changes nothing. Answers travel
over the events exchange, so that an account that answers can ask nobody.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec

from rabbitjobs.errors import Undecodable

VERSION: Final = 1
REQUEST_BYTES: Final = 64 * 1024
# A request that was held up longer than this (a stopped machine, say) is not acted on any more:
# whoever asked has long been told that there was no answer. Clocks differ by less, one hopes.
STALE_SECONDS: Final = 300.0
_TOKEN: Final = re.compile(r"[0-9a-f]{8,64}")

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Slots = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Command(msgspec.Struct, frozen=True, tag_field="command", forbid_unknown_fields=True):
    """The root of what can be asked."""


class Ping(Command, frozen=True, tag="ping"):
    """Whether the worker is there; answered even while a job blocks its event loop."""


class Stats(Command, frozen=True, tag="stats"):
    """Process, queues, slots, counts."""


class Active(Command, frozen=True, tag="active"):
    """The attempts that run now."""


class Reserved(Command, frozen=True, tag="reserved"):
    """The messages that a worker holds and has not started."""


class Registered(Command, frozen=True, tag="registered"):
    """The jobs that a worker knows."""


class Stacks(Command, frozen=True, tag="stacks"):
    """Where running jobs are in their code; answered even while one blocks the event loop."""


class Cancel(Command, frozen=True, tag="cancel"):
    """There are new cancellations in the store: read them now. It cancels nothing by itself."""


class SetSlots(Command, frozen=True, tag="set-slots"):
    """Run so many jobs of a queue at a time in each worker, until that worker ends."""

    queue: Name
    slots: Slots


class SetRate(Command, frozen=True, tag="set-rate"):
    """Start at most ``rate`` jobs (``10/s``, say) of a queue, or of one job of it."""

    queue: Name
    rate: Name
    job: Name | None = None


class Pause(Command, frozen=True, tag="pause"):
    """Take no jobs from a queue, until it is resumed or the worker ends."""

    queue: Name


class Resume(Command, frozen=True, tag="resume"):
    """Take jobs from a queue again."""

    queue: Name


class Shutdown(Command, frozen=True, tag="shutdown"):
    """Stop in order, as SIGTERM does; a supervisor starts another process in its place."""


AnyCommand = (
    Ping
    | Stats
    | Active
    | Reserved
    | Registered
    | Stacks
    | Cancel
    | SetSlots
    | SetRate
    | Pause
    | Resume
    | Shutdown
)


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One request. ``at`` is unix seconds; ``to`` names workers, none means all.

    ``reply`` is the token under which answers are awaited; without one nobody answers. ``who`` is
    what the sender says of itself: for logs, and proof of nothing.
    """

    v: int = VERSION
    at: float
    who: Annotated[str, msgspec.Meta(max_length=255)] = ""
    reply: str | None = None
    to: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1000)] = ()
    command: AnyCommand


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker answers: ``value``, or why it did not do it (``error``).

    ``asked`` is the request's ``at``; an older worker does not say it.
    """

    v: int = VERSION
    worker: str
    asked: float | None = None
    value: Any = None
    error: str | None = None


_encode = msgspec.json.Encoder().encode
_request = msgspec.json.Decoder(Request)
_answer = msgspec.json.Decoder(Answer)


def encode(message: Request | Answer) -> bytes:
    """A message as it travels."""
    return _encode(message)


def read_request(body: bytes) -> Request:
    """Read what came over the control exchange; raises ``Undecodable``: nothing is to be done."""
    if len(body) > REQUEST_BYTES:
        raise Undecodable(f"expected a control request of at most {REQUEST_BYTES} bytes")
    try:
        request = _request.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Undecodable(f"expected a control request as JSON; {error}") from None
    if request.v != VERSION:
        raise Undecodable(f"expected version {VERSION} of a control request, got {request.v}")
    if request.reply is not None and not _TOKEN.fullmatch(request.reply):
        raise Undecodable("expected a token in reply, got something else")
    return request


def read_answer(body: bytes) -> Answer | None:
    """Read an answer; ``None`` for what is none."""
    try:
        answer = _answer.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    return answer if answer.v == VERSION else None


def answer_key(token: str) -> str:
    """The routing key on the events exchange under which answers are sent."""
    return f"answer.{token}"

"""The envelope: all that is known of one sent job, as a frozen value."""

from __future__ import annotations

import msgspec

# A history longer than this would grow a message with every retry until the broker refuses it.
HISTORY_KEPT = 20


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One earlier attempt: its start (unix seconds), how long it took (seconds), its error."""

    attempt: int
    started: float
    seconds: float
    error_type: str
    error: str


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One sent job on its way.

    ``id`` is the job id: it stays through every retry and release. ``attempt`` counts the tries
    and starts at 1; (id, attempt) is the one key of deduplication. ``queue`` is the queue's name
    in the config. ``tag`` is a word by which many jobs are cancelled. ``body`` holds the encoded
    arguments and is forwarded untouched. All times are
    unix seconds. ``again``: its id was chosen by the sender, who may have sent it before.
    ``unknown`` counts how often workers that do not know the job have passed this attempt on,
    ``waits`` how often it was put off because its rate or its key was taken.
    ``release`` names the desk's release that sent it, ``case`` the case it is from. ``signature``
    holds as long as none of what it covers is changed (``rabbitjobs.message.signing``).
    """

    id: str
    job: str
    queue: str
    body: bytes
    content_type: str = "application/json"
    content_encoding: str | None = None
    attempt: int = 1
    priority: int | None = None
    enqueued: float = 0.0
    due: float | None = None
    expires: float | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    app_id: str | None = None
    trace: str | None = None
    on_done: str | None = None
    unique: str | None = None
    tag: str | None = None
    again: bool = False
    unknown: int = 0
    waits: int = 0
    release: str | None = None
    case: str | None = None
    signature: str | None = None
    history: tuple[AttemptRecord, ...] = ()

    def next_attempt(self, record: AttemptRecord, *, due: float | None) -> Envelope:
        """The envelope of the retry that follows; the oldest history is dropped past the cap."""
        return msgspec.structs.replace(
            self,
            attempt=self.attempt + 1,
            due=due,
            unknown=0,
            waits=0,
            history=(*self.history, record)[-HISTORY_KEPT:],
        )

    def passed_on(self, *, due: float) -> Envelope:
        """The same attempt once more, for a worker that knows the job: nothing has been tried.

        A crash before the ack makes two of it, so it is looked up in the store before it runs.
        """
        return msgspec.structs.replace(self, unknown=self.unknown + 1, again=True, due=due)

    def put_off(self, *, due: float) -> Envelope:
        """The same attempt once more, later; looked up before it runs, as ``passed_on`` says."""
        return msgspec.structs.replace(self, waits=self.waits + 1, again=True, due=due)

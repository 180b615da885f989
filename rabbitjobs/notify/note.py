"""What there is to tell: a failed attempt, or a job that has ended; two frozen values."""

from __future__ import annotations

import msgspec

from rabbitjobs.policy.decision import Failure


class Note(msgspec.Struct, frozen=True, kw_only=True, tag="failure", tag_field="note"):
    """A failed attempt that a rule told us to tell people about.

    ``rule`` names in words the rule that decided, ``then`` what happens to the job next
    (``retry``, ``review``, ...), ``at`` is when it failed (unix seconds). The payload is not part
    of a note, so that it can reach neither a mail nor a webhook.
    """

    job: str
    queue: str
    job_id: str
    attempt: int
    failure: Failure
    rule: str
    then: str
    at: float

    @property
    def key(self) -> str:
        """The failure's id, by which it is told once: job id and attempt."""
        return f"{self.job_id}:{self.attempt}"


class Completion(msgspec.Struct, frozen=True, kw_only=True, tag="completion", tag_field="note"):
    """A job that has ended and whose sender asked for a webhook (``on_done=``).

    ``status`` is the final state (``succeeded``, ``failed``, ...), ``ended`` unix seconds. The
    result itself is not sent: the receiver reads it with ``rabbitjobs result`` or the handle.
    """

    job_id: str
    job: str
    queue: str
    status: str
    url: str
    ended: float
    error_type: str | None = None
    error: str | None = None

    @property
    def key(self) -> str:
        """The completion's id, by which it is posted once and the receiver may deduplicate."""
        return f"{self.job_id}:done"

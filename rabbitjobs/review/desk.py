"""The desk: what people may do with cases. Every rule of it stands here, for CLI, API and web."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection

from rabbitjobs import clock
from rabbitjobs.errors import (
    ActionRefused,
    ArgumentsRefused,
    BrokerBlocked,
    BrokerUnavailable,
    QueueFull,
    RabbitJobsError,
    SendUnknown,
    SignatureRefused,
)
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.review import ending, release
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Action, AuditRow, Case, Filters, Page, Stats, hash_of
from rabbitjobs.review.edited import describe_change, open_child
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox, OutboxRow, withdraw_release

T = TypeVar("T")
Publish = Callable[[OutboxRow], None]
Validate = Callable[[str, bytes], None]

KEEP_SECONDS = 7 * 86400.0
ALL = Filters()

# What passes by itself: the promise stays in the outbox, and a relay keeps it.
_LATER = (SendUnknown, BrokerUnavailable, BrokerBlocked, QueueFull)


class Desk:
    """The review desk of one app.

    ``publish`` sends an outbox row and returns once the broker has confirmed it, or raises a
    ``SendError``. ``validate`` gets a job's name and a body, and raises ``ArgumentsRefused`` if
    they do not fit (``UnknownJob`` if it cannot tell). ``validate_result`` does the same for a
    result given by hand. ``keep`` is the seconds that results live. ``signing`` checks what is
    released and signs it anew, for its attempt and expiry change.

    Every action takes ``who`` acts and the ``version`` of the case that he saw, is one transaction
    with an audit row, and raises ``CaseChanged`` if the case is a newer one by now,
    ``ActionRefused`` if its state does not allow it, ``CaseNotFound`` for an unknown id. An id may
    be shortened as long as it is the only one that starts so.
    """

    def __init__(
        self,
        store: Store,
        publish: Publish,
        validate: Validate,
        clock: Callable[[], float] = clock.now,
        *,
        keep: float = KEEP_SECONDS,
        validate_result: Validate = lambda _job, _result: None,
        signing: Signing | None = None,
    ) -> None:
        self._store = store
        self._publish = publish
        self._validate = validate
        self._clock = clock
        self._keep = keep
        self._validate_result = validate_result
        self._signing = signing

    # --- looking ---------------------------------------------------------------------------

    def list(self, filters: Filters = ALL, *, limit: int = 50, after: str | None = None) -> Page:
        """Cases that fit, newest first; ``after`` is the ``after`` of the page before."""
        namespace = self._store.namespace
        return self._store.read(lambda c: rows.page(c, namespace, filters, limit, after))

    def get(self, case_id: str) -> Case:
        """One case with everything that is known of it."""
        return self._store.read(lambda c: rows.find(c, self._store.namespace, case_id))

    def audit(self, case_id: str) -> tuple[AuditRow, ...]:
        """What was done to a case, oldest first."""
        found = self.get(case_id)
        return self._store.read(lambda c: rows.audit_of(c, found.id))

    def stats(self) -> Stats:
        """Counts by state, and of open cases by queue, error type and age."""
        return self._store.read(lambda c: rows.stats(c, self._store.namespace, self._clock()))

    # --- acting ----------------------------------------------------------------------------

    def retry(self, case_id: str, *, who: str, version: int, queue: str | None = None) -> Case:
        """Send the job again as it is, to another ``queue`` if one is named.

        The attempt is the next one; the retry policy counts on from there. Returns the case as
        released, or as releasing when the broker did not confirm in time: the relay goes on with
        it. Raises what the broker refused for good (``Unroutable``, say); the case is open then.
        """

        def act(connection: Connection) -> OutboxRow:
            case = self._open(connection, case_id, version, "retry")
            envelope = self._vouched(case)
            detail = f"to queue {queue}" if queue else ""
            return self._promise(connection, case, _to(envelope, queue), who=who, detail=detail)

        return self._send(self._store.run(act))

    def edit(
        self, case_id: str, body: bytes, *, who: str, version: int, queue: str | None = None
    ) -> Case:
        """Send the job with another body: a new message in a case of its own, linked to this one.

        ``body`` is the JSON ``{"args": [...], "kwargs": {...}}``; ``ArgumentsRefused`` if it does
        not fit the job, and nothing was changed. This case keeps the old message and is closed;
        the case returned is the new one. The job id stays, the attempt is the next one.
        """
        self.check(case_id, body)

        def act(connection: Connection) -> OutboxRow:
            case = self._open(connection, case_id, version, "edit")
            envelope = msgspec.structs.replace(
                _to(_sendable(case), queue), body=body, content_encoding=None,
                content_type="application/json",
            )  # fmt: skip
            envelope = self._signed(envelope)
            now, change = self._clock(), describe_change(case.payload, body)
            child = open_child(
                connection, self._store.namespace, case, envelope, who=who, detail=change, now=now
            )
            return self._promise(connection, child, envelope, who=who, detail="as edited")

        return self._send(self._store.run(act))

    def check(self, case_id: str, body: bytes) -> None:
        """Raise ``ArgumentsRefused`` if ``body`` does not fit the job, or changes nothing."""
        case = self.get(case_id)
        self._refuse_unless(case, "edit")
        if hash_of(body) == case.payload_hash:
            raise ArgumentsRefused("expected other arguments, got the same ones; use retry")
        self._validate(str(case.job), body)

    def discard(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """End the case without sending the job again: it has failed, for a waiting caller too."""
        _require(reason, "a reason")

        def act(connection: Connection) -> Case:
            case = self._open(connection, case_id, version, "discard")
            by = self._by_hand(who, reason)
            return ending.discard(connection, self._store.namespace, case, by)

        return self._store.run(act)

    def resolve(
        self, case_id: str, result: Any, *, who: str, version: int, reason: str = ""
    ) -> Case:
        """End the case with a result given by hand (any JSON value).

        The job has succeeded with it, and a caller who waits gets it. It will not run again.
        """
        try:
            encoded = msgspec.json.encode(result)
        except (TypeError, ValueError) as error:
            raise ArgumentsRefused(f"expected a result that JSON can hold; {error}") from None

        def act(connection: Connection) -> Case:
            case = self._open(connection, case_id, version, "resolve")
            if case.job is not None:
                self._validate_result(case.job, encoded)
            by = self._by_hand(who, reason)
            return ending.resolve(connection, self._store.namespace, case, by, result=encoded)

        return self._store.run(act)

    def reopen(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """Take a release back: one that no broker takes, or whose job is lost (its queue deleted).

        If the job is not lost, it may run as well as what is done with the case next; its success
        closes the case then.
        """
        _require(reason, "a reason")
        return self._note(case_id, version, who, "reopen", reason, state="open")

    def comment(self, case_id: str, text: str, *, who: str, version: int) -> Case:
        """Add a comment, which stays with the case for good."""
        _require(text, "a comment")
        return self._note(case_id, version, who, "comment", text)

    def tag(self, case_id: str, tags: tuple[str, ...], *, who: str, version: int) -> Case:
        """Set the tags of a case, replacing those it has."""
        encoded = msgspec.json.encode(sorted(set(tags))).decode()
        return self._note(case_id, version, who, "tag", ", ".join(tags), tags=encoded)

    # --- inside ----------------------------------------------------------------------------

    def _open(self, connection: Connection, case_id: str, version: int, action: Action) -> Case:
        """The case, if it is as it was seen and the action is allowed."""
        case = rows.find(connection, self._store.namespace, case_id)
        if case.version != version:
            raise rows.changed_since(connection, case.id, version)
        self._refuse_unless(case, action)
        return case

    def _refuse_unless(self, case: Case, action: Action) -> None:
        if action not in case.actions:
            allowed = ", ".join(case.actions) or "nothing"
            what = case.state if case.envelope else f"{case.state} and its message unreadable"
            raise ActionRefused(
                f"expected a case that allows {action}, got case {case.id}, which is {what}; "
                f"allowed now: {allowed}",
                queue=case.queue, job=case.job, job_id=case.job_id,
            )  # fmt: skip

    def _by_hand(self, who: str, reason: str) -> ending.ByHand:
        return ending.ByHand(who=who, reason=reason, now=self._clock(), keep=self._keep)

    def _promise(
        self, connection: Connection, case: Case, envelope: Envelope, *, who: str, detail: str
    ) -> OutboxRow:
        return release.promise(
            connection, self._store.namespace, case, envelope,
            who=who, detail=detail, now=self._clock(), sign=self._signed,
        )  # fmt: skip

    def _vouched(self, case: Case) -> Envelope:
        """The message of a case, if who sent it may send jobs; an edit needs no such word."""
        envelope = _sendable(case)
        if self._signing is not None:
            try:
                self._signing.check(envelope)
            except SignatureRefused as error:
                raise ActionRefused(
                    f"{error.text}; put the key back into signing.keys, or edit the job, which "
                    "signs it anew",
                    queue=case.queue, job=case.job, job_id=case.job_id,
                ) from None  # fmt: skip
        return envelope

    def _signed(self, envelope: Envelope) -> Envelope:
        return self._signing.sign(envelope) if self._signing is not None else envelope

    def _send(self, row: OutboxRow) -> Case:
        try:
            self._publish(row)
        except _LATER:
            return self.get(str(row.case_id))
        except RabbitJobsError as error:
            self._take_back(row, str(error))
            raise
        Outbox(self._store).published([row])
        return self.get(str(row.case_id))

    def _take_back(self, row: OutboxRow, why: str) -> None:
        namespace, now = self._store.namespace, self._clock()
        self._store.run(lambda c: release.take_back(c, namespace, row, why, now))

    def _note(
        self, case_id: str, version: int, who: str, action: str, detail: str, **values: Any
    ) -> Case:
        def act(connection: Connection) -> Case:
            case = rows.find(connection, self._store.namespace, case_id)
            if case.version != version:
                raise rows.changed_since(connection, case.id, version)
            if action == "reopen":
                self._refuse_unless(case, "reopen")
                withdraw_release(connection, str(case.release_id))
            now = self._clock()
            changed = rows.change(connection, case, updated=now, **values)
            rows.note(
                connection, case.id, at=now, who=who, action=action, detail=detail,
                version=changed.version,
            )  # fmt: skip
            return changed

        return self._store.run(act)


def _sendable(case: Case) -> Envelope:
    if case.envelope is None:
        raise ActionRefused(f"expected a readable message, got case {case.id} without one")
    return case.envelope


def _to(envelope: Envelope, queue: str | None) -> Envelope:
    return msgspec.structs.replace(envelope, queue=queue) if queue else envelope


def _require(text: str, what: str) -> None:
    if not text.strip():
        raise ActionRefused(f"expected {what}, got an empty text; say why")

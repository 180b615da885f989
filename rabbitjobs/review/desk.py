"""The desk: what people may do with cases. CLI, API and web call this, and have no rules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

import msgspec
from sqlalchemy import Connection

from rabbitjobs import clock
from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.message.arguments import Parameter
from rabbitjobs.message.signing import Signing
from rabbitjobs.review import changes, claim, deadlines, ending
from rabbitjobs.review.bounds import check_tags, check_text
from rabbitjobs.review.bulk import Bulks
from rabbitjobs.review.case import Action, Case, hash_of
from rabbitjobs.review.deadlines import Kept
from rabbitjobs.review.edited import describe_change
from rabbitjobs.review.hand import Hand, refuse_unless, require, shown_to, taken
from rabbitjobs.review.looking import Looks
from rabbitjobs.review.options import DEFAULT, DeskOptions, Person
from rabbitjobs.review.payload_fields import check_locked, restored
from rabbitjobs.review.sending import Publish, Sending
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import OutboxRow

Validate = Callable[[str, bytes], None]
Parameters = Callable[[str], tuple[Parameter, ...]]

KEEP_SECONDS = 7 * 86400.0


class Desk(Looks):
    """The review desk of one app.

    ``publish`` sends an outbox row and returns once the broker has confirmed it, or raises a
    ``SendError``. ``validate`` gets a job's name and a body, and raises ``ArgumentsRefused`` if
    they do not fit (``UnknownJob`` if it cannot tell). ``validate_result`` does the same for a
    result given by hand. ``keep`` is the seconds that results live. ``signing`` checks what is
    released and signs it anew, for its attempt and expiry change. ``options`` say who may do what,
    ``parameters`` what a job is called with.

    Who looks is named as ``who``: a name sees what its role and limits let it see; ``None`` is the
    program itself, which sees all. Every action takes ``who`` acts and the ``version`` of the case
    that he saw, is one transaction with an audit row, and raises ``NotAllowed`` if he may not,
    ``CaseChanged`` if the case is a newer one by now, ``ActionRefused`` if its state does not allow
    it or somebody else holds it, ``CaseNotFound`` for an unknown id. An id may be shortened as long
    as it is the only one that starts so.
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
        options: DeskOptions = DEFAULT,
        parameters: Parameters = lambda _job: (),
    ) -> None:
        super().__init__(store, clock, options)
        self._parameters = parameters
        self._validate = validate
        self._keep = keep
        self._validate_result = validate_result
        self._via: str | None = None
        self._sending = Sending(store, publish, signing, clock)

    def reached_by(self, via: str) -> Self:
        """The same desk, whose audit rows say from where the person acted."""
        other = copy.copy(self)
        other._via = via
        return other

    def narrowed_to(self, person: Person) -> Self:
        """The same desk, where the name of ``person`` has the rights given here: for somebody who
        comes with less than the config gives him."""
        other = copy.copy(self)
        others = self._options.others if self._options.people else "admin"
        people = {**self._options.people, person.name: person}
        other._options = msgspec.structs.replace(self._options, people=people, others=others)
        return other

    def parameters(self, job: str | None) -> tuple[Parameter, ...]:
        """What the job is called with; empty if nobody here knows its code."""
        return self._parameters(job) if job is not None else ()

    @property
    def bulk(self) -> Bulks:
        """Actions on many cases at once."""
        return Bulks(self._store, self._sending, self._hand)

    def keep_up(self, *, limit: int = 100) -> Kept:
        """Keep deadlines that have passed, and mend what older releases left; call it often.

        The intake does. At most ``limit`` cases of each at a time; raises ``StoreUnavailable``.
        """
        return deadlines.keep_up(self._store, self._sending, self._hand(deadlines.WHO), limit)

    def preview(self, case_id: str, body: bytes, *, who: str | None = None) -> str:
        """What an edit would change, as a diff; raises what ``edit`` would."""
        case = self.get(case_id)
        whole = self._fitting(case, body, self._person(who) if who is not None else None)
        sensitive = self._options.fields_of(case.job, case.queue).sensitive
        return describe_change(case.payload, whole, sensitive)

    def check(self, case_id: str, body: bytes, *, who: str | None = None) -> None:
        """Raise ``ArgumentsRefused`` if ``body`` does not fit the job, or changes nothing."""
        self.preview(case_id, body, who=who)

    # --- holding ---------------------------------------------------------------------------

    def claim(self, case_id: str, *, who: str, version: int) -> Case:
        """Hold an open case for as long as ``review.lease`` says: nobody else may act on it."""
        return self._change(who, claim.claim, case_id, version)

    def heartbeat(self, case_id: str, *, who: str) -> Case:
        """Prolong one's claim. ``ActionRefused`` says who took the case, if somebody did."""
        return self._change(who, claim.heartbeat, case_id)

    def steal(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """Take a case from who holds it; his next write is refused and tells him."""
        check_text(reason, "a reason")
        return self._change(who, claim.steal, case_id, version, reason)

    def let_go(self, case_id: str, *, who: str, version: int) -> Case:
        """Give one's claim back."""
        return self._change(who, claim.let_go, case_id, version)

    # --- sending ---------------------------------------------------------------------------

    def retry(self, case_id: str, *, who: str, version: int, queue: str | None = None) -> Case:
        """Send the job again as it is, to another ``queue`` if one is named.

        The attempt is the next one; the retry policy counts on from there. Returns the case as
        released, or as releasing when the broker did not confirm in time: the relay goes on with
        it. Raises what the broker refused for good (``Unroutable``, say); the case is open then.
        """
        return self._release(who, case_id, version, queue, "retry")

    def approve(self, case_id: str, *, who: str, version: int, queue: str | None = None) -> Case:
        """Let a job run that waits for a yes (``needs_approval``); else as ``retry``."""
        return self._release(who, case_id, version, queue, "approve")

    def edit(
        self, case_id: str, body: bytes, *, who: str, version: int, queue: str | None = None
    ) -> Case:
        """Send the job with another body: a new message in a case of its own, linked to this one.

        ``body`` is the JSON ``{"args": [...], "kwargs": {...}}``; ``ArgumentsRefused`` if it does
        not fit the job or changes a locked field, and nothing was changed. A field that is hidden
        from ``who`` is left as ``[hidden]``. This case keeps the old message and is closed; the
        case returned is the new one. The job id stays, the attempt is the next one.
        """
        whole = self._fitting(self.get(case_id), body, self._person(who))
        row = self._write(
            who, lambda c, hand: self._sending.changed(c, hand, case_id, version, whole, queue)
        )
        return self._sent(row, who)

    # --- ending ----------------------------------------------------------------------------

    def discard(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """End the case without sending the job again: it has failed, for a waiting caller too."""
        return self._discard(who, case_id, version, reason, "discard")

    def reject(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """Say no to a job that waits for a yes: it never runs, and has failed."""
        return self._discard(who, case_id, version, reason, "reject")

    def resolve(
        self, case_id: str, result: Any, *, who: str, version: int, reason: str = ""
    ) -> Case:
        """End the case with a result given by hand (any JSON value).

        The job has succeeded with it, and a caller who waits gets it. It will not run again.
        """
        check_text(reason, "a reason", needed=False)
        try:
            encoded = msgspec.json.encode(result)
        except (TypeError, ValueError) as error:
            raise ArgumentsRefused(f"expected a result that JSON can hold; {error}") from None

        def act(connection: Connection, hand: Hand) -> Case:
            case = taken(connection, hand, case_id, version, "resolve")
            if case.job is not None:
                self._validate_result(case.job, encoded)
            return ending.resolve(connection, hand, case, reason, result=encoded)

        return self._shown(self._write(who, act), who)

    # --- around it -------------------------------------------------------------------------

    def reopen(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """Take a release back: one that no broker takes, or whose job is lost (its queue deleted).

        If the job is not lost, it may run as well as what is done with the case next; its success
        closes the case then.
        """
        check_text(reason, "a reason")
        return self._change(who, changes.reopen, case_id, version, reason)

    def comment(self, case_id: str, text: str, *, who: str, version: int) -> Case:
        """Add a comment, which stays with the case for good; also while somebody else holds it."""
        check_text(text, "a comment")
        return self._change(who, changes.comment, case_id, version, text)

    def tag(self, case_id: str, tags: tuple[str, ...], *, who: str, version: int) -> Case:
        """Set the tags of a case, replacing those it has."""
        check_tags(tags)
        return self._change(who, changes.tag, case_id, version, tags)

    def snooze(
        self, case_id: str, duration: timedelta, *, who: str, version: int, reason: str = ""
    ) -> Case:
        """Put a case off: until then no list of what is to do has it, and no deadline strikes."""
        check_text(reason, "a reason", needed=False)
        return self._change(who, changes.snooze, case_id, version, duration, reason)

    def wake(self, case_id: str, *, who: str, version: int) -> Case:
        """End a snooze now."""
        return self._change(who, changes.wake, case_id, version)

    def escalate(self, case_id: str, reason: str, *, who: str, version: int) -> Case:
        """Raise the severity of a case by one."""
        check_text(reason, "a reason")
        return self._change(who, changes.escalate, case_id, version, reason)

    # --- inside ----------------------------------------------------------------------------

    def _hand(self, who: str) -> Hand:
        return Hand(
            namespace=self._store.namespace, who=who, now=self._clock(), keep=self._keep,
            options=self._options, via=self._via,
        )  # fmt: skip

    def _write(self, who: str, act: Callable[[Connection, Hand], Any]) -> Any:
        hand = self._hand(who)
        return self._store.run(lambda connection: act(connection, hand))

    def _change(self, who: str, act: Callable[..., Case], *given: Any) -> Case:
        return self._shown(self._write(who, lambda c, hand: act(c, hand, *given)), who)

    def _release(
        self, who: str, case_id: str, version: int, queue: str | None, action: Action
    ) -> Case:
        again = self._sending.again
        row = self._write(who, lambda c, hand: again(c, hand, case_id, version, queue, action))
        return self._sent(row, who)

    def _discard(self, who: str, case_id: str, version: int, reason: str, action: Any) -> Case:
        check_text(reason, "a reason")

        def act(connection: Connection, hand: Hand) -> Case:
            case = taken(connection, hand, case_id, version, action)
            return ending.discard(connection, hand, case, reason, action)

        return self._shown(self._write(who, act), who)

    def _sent(self, row: OutboxRow, who: str) -> Case:
        self._sending.send(row)
        return self._shown(self.get(str(row.case_id)), who)

    def _fitting(self, case: Case, body: bytes, person: Person | None) -> bytes:
        """The body of an edit, whole: with what its author may not see put back."""
        rules = self._options.fields_of(case.job, case.queue)
        if person is not None:
            require(person, "edit", case)
            if person.role != "admin":
                body = restored(body, case.payload, rules.sensitive)
        refuse_unless(case, "edit")
        if hash_of(body) == case.payload_hash:
            raise ArgumentsRefused("expected other arguments, got the same ones; use retry")
        check_locked(body, case.payload, rules.locked)
        self._validate(str(case.job), body)
        return body

    def _shown(self, case: Case, who: str) -> Case:
        return shown_to(self._person(who), case, self._options)

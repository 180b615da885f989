"""The spine: the steps of one message, from delivery to ack."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypedDict

import msgspec

from rabbitjobs import events
from rabbitjobs.backend.protocol import Recorder, Status
from rabbitjobs.clock import now
from rabbitjobs.consumer.approval import Approved, stopped_at_the_gate
from rabbitjobs.consumer.executor import Executor
from rabbitjobs.consumer.failure import failure_of, plain_failure
from rabbitjobs.consumer.limits.parked import Admission
from rabbitjobs.consumer.rulebook import rule_book
from rabbitjobs.control.book import Book
from rabbitjobs.ending.quarantine import quarantined, refused
from rabbitjobs.ending.settle import Publish, settle, until_done
from rabbitjobs.ending.settlement import (
    NOTHING_TO_DO,
    Outcome,
    Settlement,
    Terms,
    passed_on,
    put_off,
    repeated,
    running,
    settlement,
)
from rabbitjobs.ending.unstorable import unstorable
from rabbitjobs.errors import StoreRefused, Undecodable
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.policy.decide import RuleBook, decide
from rabbitjobs.policy.decision import Decision
from rabbitjobs.store.cancellations import Cancellation
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Delivery


class Handler:
    """Handles the messages of one queue; what it returns from may be acked, nothing else."""

    def __init__(
        self,
        *,
        queue: str,
        spec: TopologySpec,
        registry: Registry,
        executor: Executor,
        recorder: Recorder | None,
        publish: Publish,
        bus: events.Bus,
        keep: float,
        worker: str,
        chance: Callable[[], float] = random.random,
        signing: Signing | None = None,
        book: Book | None = None,
        approved: Approved | None = None,
    ) -> None:
        self._queue = queue
        self._spec = spec
        self._registry = registry
        self._executor = executor
        self._recorder = recorder
        self._publish = publish
        self._bus = bus
        self._keep = keep
        self._worker = worker
        self._chance = chance
        self._signing = signing
        self._book = book
        self._approvals = approved
        self._books: dict[str, RuleBook] = {}
        self._known: dict[str, Terms] = {}

    def authenticate(self, envelope: Envelope) -> None:
        """Raise ``SignatureRefused`` for what nobody with a key has sent, if signing is on."""
        if self._signing is not None:
            self._signing.check(envelope)

    async def handle(
        self, envelope: Envelope, *, redelivered: bool, admission: Admission | None = None
    ) -> None:
        """Run one attempt and end it durably; returning means: ack."""
        terms = self._terms(envelope)
        hold = admission.hold if admission is not None else None
        if self._may_have_ended(envelope, redelivered):
            recorded = await self._recorded(envelope)
            if recorded is not None:
                await self._repeat(envelope, recorded, terms)
                return
        # Before the look at cancellations: nothing is waited for between that and the start.
        approved = not terms.gated or await self._approved(envelope)
        if self._book is not None and not self._book.settled:
            order = await self._cancellation(self._book, envelope, terms)
            if order is not None:
                await self._drop(envelope, order, terms)
                return
        if hold is not None:
            terms = msgspec.structs.replace(terms, lease=hold.token)
        if not approved:
            outcome = stopped_at_the_gate(envelope)
        else:
            self._begin(envelope, redelivered, terms)
            outcome = await self._attempt(envelope, admission)
        decision = self._decide(outcome)
        if decision is not None and not decision.counts and self._recorder is not None:
            self._recorder.running(passed_on(outcome, terms))
        ended = await self._end(outcome, decision, settlement(outcome, decision, terms), terms)
        if hold is not None and admission is not None:
            admission.freed = ended

    async def put_off(self, envelope: Envelope, delay: float, limit: str) -> None:
        """Have the same attempt come again after ``delay`` seconds; returning means: ack."""
        at = now()
        following = envelope.put_off(due=at + delay)
        await self._settle(put_off(following, delay, self._spec), envelope)
        if self._bus:
            self._bus.emit(
                events.JobPutOff(
                    at=at, delay=delay, waits=following.waits, limit=limit, **about(envelope)
                )
            )

    async def quarantine(self, delivery: Delivery, why: str) -> None:
        """End a message that cannot be read or is not signed; returning means: ack."""
        envelope = self._readable(delivery)
        if envelope is not None:
            await self._settle(refused(envelope, delivery, why, self._spec), None)
            if self._bus:
                self._bus.emit(
                    events.DeliveryRefused(
                        at=now(),
                        queue=self._queue,
                        job=envelope.job,
                        job_id=envelope.id,
                        reason=why,
                    )
                )
            return
        plan = quarantined(delivery, why, self._queue, self._spec)
        await self._settle(plan, None)
        if self._bus:
            self._bus.emit(events.DeliveryUndecodable(at=now(), queue=self._queue, reason=why))

    async def give_up(self, envelope: Envelope, error: BaseException) -> None:
        """End an attempt whose handling fails in our own code: to review; returning means: ack."""
        at = now()
        failure = failure_of(error, "crash")
        outcome = Outcome(envelope=envelope, started=at, ended=at, failure=failure)
        terms = self._terms(envelope)
        decision = Decision(do="review", rule="handling it failed again and again")
        try:
            await self._end(outcome, decision, settlement(outcome, decision, terms), terms)
        except Exception as again:  # without the store, then: in quarantine it is seen
            failure = failure_of(again, "unstorable")
            outcome = msgspec.structs.replace(outcome, failure=failure)
            await self._end(*unstorable(outcome, failure.error, terms), terms)

    def cancel(
        self, key: tuple[str, int], order: Cancellation, task: asyncio.Task[None] | None
    ) -> None:
        """See ``Executor.cancel``."""
        self._executor.cancel(key, order, task)

    def is_cancelled(self, envelope: Envelope) -> bool:
        """Whether the job is to end before it starts, by what is known now."""
        return self._book is not None and self._book.of(envelope) is not None

    def resize(self, slots: int) -> None:
        """See ``Executor.resize``."""
        self._executor.resize(slots)

    def stop(self) -> None:
        """From now on a cancelled attempt has not ended, and is left to the broker."""
        self._executor.stop()

    def _readable(self, delivery: Delivery) -> Envelope | None:
        """The envelope of what is here for its signature only."""
        if delivery.damage is not None:
            return None
        try:
            return decode(delivery.properties, delivery.body, queue=self._queue)
        except Undecodable:
            return None

    # --- the steps ------------------------------------------------------------------------------

    def _terms(self, envelope: Envelope) -> Terms:
        # Kept for the jobs that are known here: the names in messages are anybody's.
        terms = self._known.get(envelope.job)
        if terms is None:
            terms = self._terms_of(envelope.job)
            if terms.known:
                self._known[envelope.job] = terms
        return terms

    def _terms_of(self, job: str) -> Terms:
        definition = self._registry.get(job)
        return Terms(
            spec=self._spec,
            keep=self._keep,
            # Without a store nothing is kept either: it is not even put together.
            ignore_result=self._recorder is None or bool(definition and definition.ignore_result),
            known=definition is not None and definition.function is not None,
            gated=definition is not None and definition.needs_approval,
            worker=self._worker,
            renew=self._signing.renew if self._signing is not None else None,
        )

    def _may_have_ended(self, envelope: Envelope, redelivered: bool) -> bool:
        # A first attempt that was sent once and never handed over cannot have ended: the look-up
        # is saved.
        sent_once = envelope.release is None and not envelope.again
        # Where jobs are signed, somebody may send the copy of one, with whatever headers suit him.
        sent_once = sent_once and self._signing is None
        return envelope.attempt > 1 or redelivered or not sent_once

    async def _recorded(self, envelope: Envelope) -> bytes | None:
        recorder = self._recorder
        if recorder is None:
            return None
        return await until_done(
            lambda: recorder.recorded(envelope.id, envelope.attempt), self._delayed(envelope)
        )

    async def _approved(self, envelope: Envelope) -> bool:
        """Whether a person let it run; the desk's store knows, whatever the message says."""
        approvals = self._approvals
        if approvals is None or envelope.release is None:
            return False
        return await until_done(lambda: approvals(envelope), self._delayed(envelope))

    async def _attempt(self, envelope: Envelope, admission: Admission | None) -> Outcome:
        if admission is not None and admission.failure is not None:
            at = now()
            return Outcome(envelope=envelope, started=at, ended=at, failure=admission.failure)
        if admission is not None and admission.hold is not None:
            return await self._executor.execute(envelope, lease_lost=admission.hold.lost)
        return await self._executor.execute(envelope)

    async def _repeat(self, envelope: Envelope, recorded: bytes, terms: Terms) -> None:
        await self._settle(repeated(envelope, recorded, terms), envelope)
        if self._bus:
            self._bus.emit(events.DuplicateDropped(at=now(), **about(envelope)))

    async def _cancellation(
        self, book: Book, envelope: Envelope, terms: Terms
    ) -> Cancellation | None:
        # What needs no store must not stand still without one.
        if terms.ignore_result:
            return await book.look(envelope, wait=False)
        return await until_done(lambda: book.look(envelope), self._delayed(envelope))

    async def _drop(self, envelope: Envelope, order: Cancellation, terms: Terms) -> None:
        """The job was cancelled before this attempt began: the attempt ends so, and no code ran."""
        at = now()
        failure = plain_failure("cancelled", order.said)
        outcome = Outcome(envelope=envelope, started=at, ended=at, failure=failure)
        decision = self._decide(outcome)
        await self._end(outcome, decision, settlement(outcome, decision, terms), terms)

    def _begin(self, envelope: Envelope, redelivered: bool, terms: Terms) -> None:
        if self._recorder is not None and terms.known and not terms.ignore_result:
            self._recorder.running(running(envelope, terms))
        if self._bus.each:
            self._bus.emit(events.JobStarted(at=now(), redelivered=redelivered, **about(envelope)))

    def _decide(self, outcome: Outcome) -> Decision | None:
        if outcome.failure is None:
            return None
        name = outcome.envelope.job
        book = self._books.get(name)
        if book is None:
            definition = self._registry.get(name)
            book = rule_book(self._spec, self._queue, definition)
            if definition is not None:
                self._books[name] = book
        envelope = outcome.envelope
        return decide(
            outcome.failure, envelope.attempt, book, self._chance, unknown=envelope.unknown
        )

    async def _end(
        self, outcome: Outcome, decision: Decision | None, plan: Settlement, terms: Terms
    ) -> bool:
        """Whether this run of the attempt is what was recorded."""
        envelope = outcome.envelope
        try:
            first = plan is NOTHING_TO_DO or await self._settle(plan, envelope)
        except StoreRefused as refused:
            ended, decided, instead = unstorable(outcome, refused.text, terms)
            return await self._end(ended, decided, instead, terms)
        if first:
            if self._bus.each or (decision is not None and self._bus):
                self._bus.emit(_ended(outcome, decision, plan.status))
            return plan.record is not None and self._recorder is not None
        # Another run of this attempt was recorded first: its decision holds, ours is dropped.
        recorded = await self._recorded(envelope)
        await self._repeat(envelope, recorded or b"", terms)
        return False

    def _settle(self, plan: Settlement, envelope: Envelope | None) -> Awaitable[bool]:
        return settle(
            plan,
            recorder=self._recorder,
            publish=self._publish,
            delayed=self._delayed(envelope),
        )

    def _delayed(self, envelope: Envelope | None) -> Callable[[str], None]:
        def delayed(reason: str) -> None:
            if envelope is None:
                self._bus.emit(
                    events.ConsumerChanged(
                        at=now(), queue=self._queue, state="delayed", reason=reason
                    )
                )
            else:
                self._bus.emit(events.EndingDelayed(at=now(), reason=reason, **about(envelope)))

        return delayed


class About(TypedDict):
    """What every event of a job says."""

    job_id: str
    job: str
    queue: str
    attempt: int


def about(envelope: Envelope) -> About:
    """The attempt that an event is about."""
    return {
        "job_id": envelope.id,
        "job": envelope.job,
        "queue": envelope.queue,
        "attempt": envelope.attempt,
    }


def _ended(outcome: Outcome, decision: Decision | None, status: Status) -> events.Event:
    shared = about(outcome.envelope)
    failure = outcome.failure
    if failure is None or decision is None:
        return events.JobSucceeded(at=outcome.ended, seconds=outcome.seconds, **shared)
    if not decision.counts:
        delay = decision.delay or 0.0
        return events.JobPassedOn(at=outcome.ended, delay=delay, rule=decision.rule, **shared)
    if decision.do == "retry":
        return events.JobRetrying(
            at=outcome.ended,
            seconds=outcome.seconds,
            delay=decision.delay or 0.0,
            error_type=failure.error_type,
            error=failure.error,
            rule=decision.rule,
            **shared,
        )
    return events.JobEnded(
        at=outcome.ended,
        seconds=outcome.seconds,
        status=status.value,
        error_type=failure.error_type,
        error=failure.error,
        rule=decision.rule,
        **shared,
    )

"""From an outcome to its settlement: what to keep, what to send (pure)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec

from rabbitjobs.backend.protocol import Record, Status, record_of
from rabbitjobs.clock import now
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import HISTORY_KEPT, AttemptRecord, Envelope
from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.publisher.completion import completion
from rabbitjobs.topology import routes
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Outgoing

ERROR_KEPT = 300
# Bounds of what goes into headers: see ``codec.TEXT_BYTES``.
FAILURE_BYTES = 48_000
TRACEBACK_SHORT = 3000
# Straight back to the work queue could deadlock with a full one, and would spin with an empty one.
SHORTEST_RETRY = 1.0

_STATUS = {
    "retry": Status.RETRYING,
    "ignore": Status.IGNORED,
    "review": Status.IN_REVIEW,
    "quarantine": Status.QUARANTINED,
    "expire": Status.EXPIRED,
    "cancel": Status.CANCELLED,
    "discard": Status.FAILED,
}


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt went: a result, or a failure. Times are unix seconds."""

    envelope: Envelope
    started: float
    ended: float
    result: bytes | None = None
    failure: Failure | None = None

    @property
    def seconds(self) -> float:
        """How long it ran; 0 if the clock jumped back."""
        return max(self.ended - self.started, 0.0)


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A failure and what was decided: kept in the inbox, so that a redelivery repeats it."""

    failure: Failure
    decision: Decision


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """How an outcome is kept. ``keep`` is in seconds; ``worker`` is who ran the job, if one did.

    ``lease`` is the token of the concurrency key's lease that the job held.
    """

    keep: float
    ignore_result: bool = False
    worker: str = ""
    lease: str | None = None


class Terms(Keeping, frozen=True, kw_only=True):
    """What the settlement depends on besides the outcome.

    ``known``: this worker has the code. ``gated``: it runs only with a person's yes. ``renew``
    signs a changed envelope; ``None`` where nothing is signed.
    """

    spec: TopologySpec
    known: bool = True
    gated: bool = False
    renew: Callable[[Envelope], Envelope] | None = None


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What the ending does, in this order: write ``record``, publish ``sends`` confirmed, ack."""

    status: Status
    record: Record | None
    sends: tuple[Outgoing, ...] = ()


# A value, because most small jobs end so: nothing is known of them, nobody waits to hear of them.
NOTHING_TO_DO = Settlement(status=Status.SUCCEEDED, record=None)
_verdicts = msgspec.msgpack.Encoder()
_read_verdict = msgspec.msgpack.Decoder(Verdict)


def settlement(outcome: Outcome, decision: Decision | None, terms: Terms) -> Settlement:
    """The settlement of an attempt; ``decision`` is ``None`` for a success."""
    if terms.ignore_result and outcome.failure is None and _leaves_no_trace(outcome.envelope):
        return NOTHING_TO_DO
    status, verdict = _judged(outcome, decision)
    sends = _follow_ups(outcome, verdict, terms) if verdict is not None else ()
    if decision is not None and not decision.counts:
        return Settlement(status=status, record=None, sends=sends)  # it is still to be made
    if wants_note(outcome.envelope, status):
        sends = (*sends, _completion(outcome, status, terms.spec))
    return Settlement(status=status, record=_record(outcome, status, verdict, terms), sends=sends)


def kept(outcome: Outcome, decision: Decision | None, keeping: Keeping) -> Record:
    """What is kept of an ending that sends nothing: that of a person, see ``by_hand``."""
    status, verdict = _judged(outcome, decision)
    return _record(outcome, status, verdict, keeping)


def _leaves_no_trace(envelope: Envelope) -> bool:
    """Whether nothing is changed anywhere by the success of this job, its result put aside."""
    return (
        envelope.attempt == 1
        and not envelope.unknown
        and envelope.case is None
        and envelope.release is None
        and envelope.unique is None
        and envelope.on_done is None
    )


def wants_note(envelope: Envelope, status: Status) -> bool:
    """Whether a caller is to hear that his job has ended so."""
    return status.final and bool(envelope.on_done)


def repeated(envelope: Envelope, recorded: bytes, terms: Terms) -> Settlement:
    """The settlement of an attempt that was recorded before: its sends again, nothing to keep.

    ``recorded`` is what the inbox holds. Every send is harmless when it arrives twice.
    """
    at = now()
    verdict = _read_verdict.decode(recorded) if recorded else None
    failure = verdict.failure if verdict else None
    decision = verdict.decision if verdict else None
    outcome = Outcome(envelope=envelope, started=at, ended=at, failure=failure)
    return msgspec.structs.replace(settlement(outcome, decision, terms), record=None)


def running(envelope: Envelope, terms: Terms) -> Record:
    """What is noted while an attempt runs; ``ended`` means nothing yet."""
    return record_of(envelope, Status.RUNNING, at=now(), keep=terms.keep, worker=terms.worker)


def passed_on(outcome: Outcome, terms: Terms) -> Record:
    """What is noted of a job that waits for a worker that knows it: the attempts made so far."""
    failure = outcome.failure
    noted = running(outcome.envelope, terms)
    return msgspec.structs.replace(
        noted,
        attempt=noted.attempt - 1,
        status=Status.RETRYING,
        error_type=failure.error_type if failure else None,
        error=failure.error if failure else None,
    )


def put_off(envelope: Envelope, delay: float, spec: TopologySpec) -> Settlement:
    """The settlement of a job that waits for its rate or its key: sent anew, nothing is kept.

    ``envelope`` is what is sent, ``delay`` in seconds.
    """
    route = routes.delayed(spec, envelope.queue, timedelta(seconds=delay))
    sent = Outgoing(route.exchange, route.routing_key, encode(envelope), envelope.body)
    return Settlement(status=Status.QUEUED, record=None, sends=(sent,))


def _judged(outcome: Outcome, decision: Decision | None) -> tuple[Status, Verdict | None]:
    if outcome.failure is None or decision is None:
        return Status.SUCCEEDED, None
    return _STATUS[decision.do], Verdict(failure=outcome.failure, decision=decision)


def _record(outcome: Outcome, status: Status, verdict: Verdict | None, keeping: Keeping) -> Record:
    envelope, failure = outcome.envelope, outcome.failure
    return Record(
        job_id=envelope.id,
        attempt=envelope.attempt,
        job=envelope.job,
        queue=envelope.queue,
        status=status,
        enqueued=envelope.enqueued,
        started=outcome.started,
        ended=outcome.ended,
        keep=keeping.keep,
        keep_result=not keeping.ignore_result,
        result=outcome.result,
        decision=_verdicts.encode(verdict) if verdict else None,
        error_type=failure.error_type if failure else None,
        error=failure.error if failure else None,
        traceback=failure.traceback if failure else None,
        case=envelope.case,
        release=envelope.release,
        unique=envelope.unique,
        worker=keeping.worker,
        noted=envelope.unknown > 0,
        lease=keeping.lease,
    )


def _follow_ups(outcome: Outcome, verdict: Verdict, terms: Terms) -> tuple[Outgoing, ...]:
    decision, spec = verdict.decision, terms.spec
    sends: list[Outgoing] = []
    if decision.notify:
        sends.append(_failed(outcome, verdict, "notify", spec))
    if decision.do == "retry":
        sends.append(_retry(outcome, decision, terms))
    elif decision.do == "review":
        sends.append(_failed(outcome, verdict, "review", spec))
    elif decision.do == "quarantine":
        sends.append(_failed(outcome, verdict, "quarantine", spec))
    elif decision.do != "discard" and _keeps(decision, outcome.envelope.queue, spec):
        sends.append(_failed(outcome, verdict, "ignored", spec))
    return tuple(sends)


def _keeps(decision: Decision, queue: str, spec: TopologySpec) -> bool:
    """Whether a copy of an ignored or expired job goes to the ignored queue."""
    known = spec.queues.get(queue)
    keep = decision.keep if decision.keep is not None else known.ignored_keep if known else None
    return keep != 0


def _attempt_record(outcome: Outcome) -> AttemptRecord:
    failure = outcome.failure
    return AttemptRecord(
        attempt=outcome.envelope.attempt,
        started=outcome.started,
        seconds=round(outcome.seconds, 6),
        error_type=failure.error_type if failure else "",
        error=failure.error[:ERROR_KEPT] if failure else "",
    )


def _retry(outcome: Outcome, decision: Decision, terms: Terms) -> Outgoing:
    envelope = outcome.envelope
    delay = decision.delay or SHORTEST_RETRY
    due = outcome.ended + delay
    if decision.counts:
        following = envelope.next_attempt(_attempt_record(outcome), due=due)
        if terms.renew is not None:
            following = terms.renew(following)
    else:
        following = envelope.passed_on(due=due)
    route = routes.delayed(terms.spec, envelope.queue, timedelta(seconds=delay))
    return Outgoing(route.exchange, route.routing_key, encode(following), envelope.body)


def _failed(
    outcome: Outcome, verdict: Verdict, kind: routes.FailKind, spec: TopologySpec
) -> Outgoing:
    envelope = outcome.envelope
    history = (*envelope.history, _attempt_record(outcome))[-HISTORY_KEPT:]
    properties = encode(msgspec.structs.replace(envelope, history=history))
    properties.headers[h.FAILURE] = _failure_text(verdict.failure)
    properties.headers[h.REASON] = verdict.decision.do
    properties.headers[h.RULE] = verdict.decision.rule
    route = routes.failed(spec, kind, envelope.queue)
    # A note needs no arguments, and the notifier holds thousands of notes at a time.
    body = b"" if kind == "notify" else envelope.body
    return Outgoing(route.exchange, route.routing_key, properties, body)


def _failure_text(failure: Failure) -> str:
    text = msgspec.json.encode(failure)
    if len(text) > FAILURE_BYTES:
        short = f"...\n{failure.traceback[-TRACEBACK_SHORT:]}"
        text = msgspec.json.encode(msgspec.structs.replace(failure, traceback=short))
    return text.decode()


def _completion(outcome: Outcome, status: Status, spec: TopologySpec) -> Outgoing:
    failure = _failure_text(outcome.failure) if outcome.failure is not None else None
    return completion(outcome.envelope, status.value, outcome.ended, spec, failure=failure)

"""Intake: a message from the review queue becomes a case, however often it is delivered.

Insert by the unique failure id, commit, then the caller acks. A store that is down raises
``StoreUnavailable``: the message stays in its queue.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from rabbitjobs import clock
from rabbitjobs.backend import result_rows
from rabbitjobs.backend.protocol import Status, record_of
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review import store as rows
from rabbitjobs.review.case import Case, Reason, hash_of
from rabbitjobs.review.fingerprint import fingerprint
from rabbitjobs.review.options import DEFAULT, DeskOptions
from rabbitjobs.review.payload_fields import hidden
from rabbitjobs.review.words import search_text
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import failures
from rabbitjobs.store.text import storable, storable_or_none


class FailedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message from the review queue, as far as it could be read.

    ``envelope`` is ``None`` if it could not. ``raw`` is its body, exactly as it came. ``failure``
    is ``None`` for what the broker itself dead-lettered: ``deaths``, its x-death header as plain
    data (newest first), then says why. ``queue`` is the queue that it came from, if known.
    """

    envelope: Envelope | None
    failure: Failure | None
    raw: bytes
    properties: Properties
    reason: Reason
    decision_rule: str | None = None
    exchange: str = ""
    routing_key: str = ""
    queue: str = ""
    deaths: Sequence[dict[str, Any]] = ()


def take_in(store: Store, message: FailedMessage, options: DeskOptions = DEFAULT) -> str:
    """Make or reopen the case of a message, and return its id; the same message, the same case.

    ``options`` say which deadline it gets and which of its fields nobody may find by a search.
    """
    return store.run(lambda connection: take(connection, store.namespace, message, options))


async def atake_in(store: Store, message: FailedMessage, options: DeskOptions = DEFAULT) -> str:
    """The a-twin of ``take_in``."""
    return await store.arun(lambda connection: take(connection, store.namespace, message, options))


def take(
    connection: Connection, namespace: str, message: FailedMessage, options: DeskOptions = DEFAULT
) -> str:
    """``take_in`` inside the caller's transaction.

    A job has one live case at most: a job that fails again after its release reopens its case, and
    a failure of an older attempt is only noted there.
    """
    now = clock.now()
    live = _live_case(connection, namespace, message)
    case_id = live.id if live else clock.uuid7()
    known = _enter(connection, namespace, failure_id(message), case_id, now)
    if known is not None:
        return known
    if live is None:
        _open(connection, namespace, message, case_id, now, options)
    elif _is_news(live, message):
        _reopen(connection, live, message, now, options)
    else:
        _attach(connection, live, message, now)
    _show_in_review(connection, namespace, message, now)
    return case_id


def failure_id(message: FailedMessage) -> str:
    """The unique id of a failure: the same for every delivery of the same message.

    Our own endings fail an attempt once. The broker may dead-letter an attempt of which nothing is
    recorded; then the place, count and time of its newest x-death entry tell two of them apart.
    """
    envelope = message.envelope
    if envelope is None:
        return f"raw:{_fingerprint(message)}"
    own = f"{storable(envelope.id)}:{envelope.attempt}"
    if message.failure is not None:
        return own
    death = message.deaths[0] if message.deaths else {}
    place = ":".join(str(death.get(key, "")) for key in ("reason", "queue", "count", "time"))
    return storable(f"{own}:{message.reason}:{place}")


def _fingerprint(message: FailedMessage) -> str:
    digest = hashlib.sha256(message.raw)
    for part in (message.properties, list(message.deaths), message.queue, message.routing_key):
        digest.update(repr(part).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()


def _live_case(connection: Connection, namespace: str, message: FailedMessage) -> Case | None:
    envelope = message.envelope
    if envelope is None:
        return None
    return rows.find_live(
        connection, namespace, storable_or_none(envelope.case), storable(envelope.id)
    )


def _enter(
    connection: Connection, namespace: str, failure: str, case_id: str, now: float
) -> str | None:
    """Note a failure; returns the case that has it already, ``None`` if it is new."""
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    values = {"namespace": namespace, "failure_id": failure, "case_id": case_id, "taken": now}
    entry = make(failures).values(values).on_conflict_do_nothing().returning(failures.c.case_id)
    if connection.execute(entry).first() is not None:
        return None
    query = select(failures.c.case_id).where(
        failures.c.namespace == namespace, failures.c.failure_id == failure
    )
    return str(connection.execute(query).scalar_one())


def _is_news(live: Case, message: FailedMessage) -> bool:
    attempt = message.envelope.attempt if message.envelope else 0
    return attempt >= (live.attempt if live.state == "open" else live.release_attempt or 0)


def _open(
    connection: Connection,
    namespace: str,
    message: FailedMessage,
    case_id: str,
    now: float,
    options: DeskOptions,
) -> None:
    envelope = message.envelope
    values = {
        **_facts(message, options, now),
        "id": case_id,
        "namespace": namespace,
        "version": 1,
        "state": "open",
        "opened": now,
        "updated": now,
        "tags": "[]",
        "parent_id": storable_or_none(envelope.case) if envelope else None,
    }
    rows.add(connection, values)
    detail = f"{message.reason}: {_failure(message).error_type}"
    rows.note(
        connection, case_id, at=now, who="intake", action="open", detail=detail, version=1,
        after=values["payload_hash"],
    )  # fmt: skip


def _reopen(
    connection: Connection, live: Case, message: FailedMessage, now: float, options: DeskOptions
) -> None:
    facts = _facts(message, options, now)
    failures = live.failures + 1
    case = rows.change(
        connection, live, **facts, state="open", updated=now, failures=failures, snoozed_until=None
    )
    rows.note(
        connection,
        case.id,
        at=now,
        who="intake",
        action="reopen",
        detail=f"failed again, attempt {case.attempt}: {case.error_type}",
        version=case.version,
        before=live.payload_hash,
        after=case.payload_hash,
    )


def _attach(connection: Connection, live: Case, message: FailedMessage, now: float) -> None:
    attempt = message.envelope.attempt if message.envelope else 0
    rows.note(
        connection,
        live.id,
        at=now,
        who="intake",
        action="attach",
        detail=f"an older attempt failed too, {attempt}: {_failure(message).error_type}",
        version=live.version,
    )


def _facts(message: FailedMessage, options: DeskOptions, now: float) -> dict[str, Any]:
    """The columns that say what failed and where it came from, and until when a person has time."""
    envelope, failure, properties = message.envelope, _failure(message), message.properties
    payload = envelope.body if envelope else message.raw
    job = storable(envelope.job) if envelope else storable_or_none(properties.type)
    queue = storable(envelope.queue if envelope else message.queue) or None
    rule = options.deadline_of(queue)
    shown = hidden(payload, options.fields_of(job, queue).sensitive)[0]
    return {
        "fingerprint": fingerprint(job, failure),
        "seen": now,
        "deadline": now + rule.after.total_seconds() if rule else None,
        "deadline_do": rule.do if rule else None,
        "job_id": storable(envelope.id) if envelope else None,
        "attempt": envelope.attempt if envelope else 0,
        "job": job,
        "queue": queue,
        "message_id": storable_or_none(properties.message_id),
        "correlation_id": storable_or_none(properties.correlation_id),
        "trace": storable_or_none(envelope.trace) if envelope else None,
        "reason": message.reason,
        "exchange": storable(message.exchange),
        "routing_key": storable(message.routing_key),
        "source_queue": storable(message.queue),
        "app_id": storable_or_none(properties.app_id),
        "published": float(properties.timestamp) if properties.timestamp else None,
        "priority": properties.priority,
        "kind": failure.kind,
        "error_type": storable(failure.error_type),
        "error": storable(failure.error),
        "classes": _json(failure.classes),
        "traceback": storable(failure.traceback),
        "rule": storable(message.decision_rule or _broker_rule(message)),
        "deaths": _json(list(message.deaths)),
        "envelope": msgspec.msgpack.encode(envelope) if envelope else None,
        "properties": msgspec.msgpack.encode(_plain_properties(properties)),
        "payload": payload,
        "payload_hash": hash_of(payload),
        "search": search_text(
            envelope.id if envelope else None, job, failure.error_type, failure.error,
            shown[:4000].decode("utf-8", "replace"),
        ),
    }  # fmt: skip


def _failure(message: FailedMessage) -> Failure:
    """The failure, or for a message that the broker dead-lettered what its x-death tells."""
    if message.failure is not None:
        return message.failure
    death = message.deaths[0] if message.deaths else {}
    why = str(death.get("reason", "unknown"))
    texts = {
        "delivery_limit": "the job was handed out again and again without an ending: its worker "
        "crashed or lost its connection each time",
        "rejected": "the message was rejected by a consumer that is not ours",
        "expired": "the message stood in its queue longer than the queue's time to live",
        "maxlen": "the queue was full and dropped the message",
    }
    return Failure(
        kind="expired" if why == "expired" else "crash",
        error_type=f"broker.{why}",
        error=texts.get(why, "the broker dead-lettered the message and does not say why"),
    )


def _broker_rule(message: FailedMessage) -> str:
    death = message.deaths[0] if message.deaths else {}
    if not death:
        return "unknown: the message carries no rule"
    return f"the broker: {death.get('reason')} on {death.get('queue')}"


def _plain_properties(properties: Properties) -> Properties:
    """Headers of other clients may hold what msgpack cannot: those become text."""
    try:
        msgspec.msgpack.encode(properties)
    except (TypeError, ValueError, OverflowError, UnicodeError):
        plain = {storable(str(key)): storable(repr(v)) for key, v in properties.headers.items()}
        return msgspec.structs.replace(properties, headers=plain)
    return properties


def _json(value: Any) -> str:
    return storable(msgspec.json.encode(value, enc_hook=repr).decode("utf-8"))


def _show_in_review(
    connection: Connection, namespace: str, message: FailedMessage, now: float
) -> None:
    envelope, failure = message.envelope, _failure(message)
    if envelope is None:
        return
    record = msgspec.structs.replace(
        record_of(envelope, Status.IN_REVIEW, at=now),
        job_id=storable(envelope.id),
        error_type=failure.error_type,
        error=failure.error,
        traceback=failure.traceback,
    )
    result_rows.put_in_review(connection, namespace, record)

"""Sending a job again from the desk: promised in a transaction, then published confirmed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from sqlalchemy import Connection

from rabbitjobs import failpoints
from rabbitjobs.errors import (
    ActionRefused,
    BrokerBlocked,
    BrokerUnavailable,
    QueueFull,
    RabbitJobsError,
    SendUnknown,
    SignatureRefused,
)
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing
from rabbitjobs.review import release
from rabbitjobs.review.case import Action, Case
from rabbitjobs.review.edited import describe_change, open_child
from rabbitjobs.review.hand import Hand, require_queue, taken
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox, OutboxRow

Publish = Callable[[OutboxRow], None]

# What passes by itself: the promise stays in the outbox, and a relay keeps it.
_LATER = (SendUnknown, BrokerUnavailable, BrokerBlocked, QueueFull)


class Sending:
    """The way of a job back to its queue, for one desk."""

    def __init__(
        self, store: Store, publish: Publish, signing: Signing | None, clock: Callable[[], float]
    ) -> None:
        self._store = store
        self._publish = publish
        self._signing = signing
        self._clock = clock

    def again(
        self,
        connection: Connection,
        hand: Hand,
        case_id: str,
        version: int,
        queue: str | None = None,
        action: Action = "retry",
    ) -> OutboxRow:
        """Promise the job as it is, to another ``queue`` if one is named."""
        case = taken(connection, hand, case_id, version, action)
        require_queue(hand, queue)
        envelope = self._vouched(case)
        detail = f"to queue {queue}" if queue else ""
        return release.promise(
            connection, hand, case, _to(envelope, queue),
            action=action, detail=detail, sign=self._signed,
        )  # fmt: skip

    def changed(
        self,
        connection: Connection,
        hand: Hand,
        case_id: str,
        version: int,
        body: bytes,
        queue: str | None = None,
    ) -> OutboxRow:
        """Promise the job with another body, in a case of its own."""
        case = taken(connection, hand, case_id, version, "edit")
        require_queue(hand, queue)
        envelope = msgspec.structs.replace(
            _to(_sendable(case), queue), body=body, content_encoding=None,
            content_type="application/json",
        )  # fmt: skip
        envelope = self._signed(envelope)
        sensitive = hand.options.fields_of(case.job, case.queue).sensitive
        change = describe_change(case.payload, body, sensitive)
        child = open_child(connection, hand, case, envelope, change)
        return release.promise(
            connection, hand, child, envelope, detail="as edited", sign=self._signed
        )

    def send(self, row: OutboxRow) -> None:
        """Publish what was promised.

        What the broker does not confirm in time, a relay goes on with. Raises what the broker
        refused for good; the case is open then.
        """
        failpoints.reach("after-release-commit")
        try:
            self._publish(row)
        except _LATER:
            return
        except RabbitJobsError as error:
            self._take_back(row, str(error))
            raise
        failpoints.reach("after-release-confirm")
        Outbox(self._store).published([row])

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

    def _take_back(self, row: OutboxRow, why: str) -> None:
        namespace, now = self._store.namespace, self._clock()
        self._store.run(lambda c: release.take_back(c, namespace, row, why, now))


def _sendable(case: Case) -> Envelope:
    if case.envelope is None:
        raise ActionRefused(f"expected a readable message, got case {case.id} without one")
    return case.envelope


def _to(envelope: Envelope, queue: str | None) -> Envelope:
    return msgspec.structs.replace(envelope, queue=queue) if queue else envelope

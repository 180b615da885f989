"""The roles around failures: the review intake with the store's upkeep, and the notifier."""

from __future__ import annotations

import asyncio
from functools import partial

from rabbitjobs import events, failpoints
from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.clock import now
from rabbitjobs.consumer.drained import Drained, total
from rabbitjobs.consumer.refusals import Refusals
from rabbitjobs.consumer.system import SystemConsumer
from rabbitjobs.ending.quarantine import quarantined
from rabbitjobs.ending.settle import said
from rabbitjobs.ending.settlement import Outcome, Terms
from rabbitjobs.ending.unstorable import ERROR_SHOWN, unstorable
from rabbitjobs.errors import RabbitJobsError, StoreError, Undecodable
from rabbitjobs.notify.channels import build
from rabbitjobs.notify.durable import StoreMemory
from rabbitjobs.notify.intake import note_of
from rabbitjobs.notify.notifier import Notifier
from rabbitjobs.notify.options import NotifyOptions
from rabbitjobs.policy.decision import Failure
from rabbitjobs.publisher.relay import Relay
from rabbitjobs.review.intake import FailedMessage, atake_in
from rabbitjobs.review.options import DEFAULT
from rabbitjobs.review.reading import failed_message
from rabbitjobs.store.outbox import Outbox
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Delivery, Outgoing

INTAKE_PREFETCH = 100
SWEEP_SECONDS = 60.0
SWEEP_AGAIN_SECONDS = 5.0
KEPT_AT_ONCE = 500
FAULTS_BEFORE_QUARANTINE = 3


class IntakeRole:
    """Takes review items into the store, relays the outbox, keeps deadlines, deletes the old."""

    name = "intake"

    def __init__(self, app: RabbitJobs) -> None:
        store, backend = app.parts.store, app.parts.backend
        if store is None or backend is None:
            raise StoreError("expected a store for the intake, got none; set store.url")
        self._app, self._store, self._backend = app, store, backend
        self._options = app.settings.review or DEFAULT
        self._consumers = [
            SystemConsumer(
                queue=queue,
                session=app.parts.session(),
                handle=self._take,
                prefetch=INTAKE_PREFETCH,
                bus=app.bus,
            )
            for queue in _review_queues(app)
        ]
        self._relay = Relay(
            Outbox(store),
            spec=lambda: app.spec,
            publish=app.publisher.confirmed,
            trouble=lambda reason: self._trouble("outbox", reason),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._said: dict[str, str] = {}
        self._refusals = Refusals()

    async def start(self) -> None:
        """See ``Role``."""
        for consumer in self._consumers:
            await consumer.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._relay.run()), loop.create_task(self._sweep())]

    async def _take(self, delivery: Delivery) -> None:
        message = failed_message(delivery, self._app.namespace)
        try:
            case_id = await atake_in(self._store, message, self._options)
        except RabbitJobsError:
            raise
        except Exception as error:
            if not self._refused_for_good(delivery):
                raise
            for outgoing in _to_quarantine(self._app.spec, delivery, message, said(error)):
                await self._app.publisher.confirmed(outgoing)
            self._refusals.forget(_key(delivery))
            return
        self._refusals.forget(_key(delivery))
        failpoints.reach("after-intake-commit")
        if self._app.bus:
            envelope = message.envelope
            self._app.bus.emit(
                events.CaseTaken(
                    at=now(),
                    case_id=case_id,
                    job_id=envelope.id if envelope else "",
                    job=envelope.job if envelope else "",
                    queue=message.queue,
                )
            )

    def _refused_for_good(self, delivery: Delivery) -> bool:
        """Whether the store has refused this message so often that it always will.

        RabbitMQ counts no message of this queue that is given back: the loop would have no end.
        """
        return self._refusals.add(_key(delivery)) >= FAULTS_BEFORE_QUARANTINE

    async def _sweep(self) -> None:
        while True:
            pause = SWEEP_SECONDS
            try:
                await asyncio.to_thread(self._backend.clean)
                kept = await asyncio.to_thread(partial(self._app.desk.keep_up, limit=KEPT_AT_ONCE))
            except Exception as error:  # upkeep that ended in silence would let the store grow
                self._trouble("store", str(error))
                pause = SWEEP_AGAIN_SECONDS
            else:
                self._trouble("store", "")
                if max(kept) >= KEPT_AT_ONCE:  # there is more of it
                    pause = SWEEP_AGAIN_SECONDS
            await asyncio.sleep(pause)

    def _trouble(self, where: str, reason: str) -> None:
        """Say that a piece of upkeep stands still, or goes on: once, not at each try."""
        if reason == self._said.get(where, ""):
            return
        self._said[where] = reason
        state = "delayed" if reason else "consuming"
        self._app.bus.emit(
            events.ConsumerChanged(at=now(), queue=where, state=state, reason=reason)
        )

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """See ``Role``."""
        for task in self._tasks:
            task.cancel()
        return total(await asyncio.gather(*(one.drain(grace, hurry) for one in self._consumers)))


class NotifyRole:
    """Sends from the notify queue by the configured channels."""

    name = "notify"

    def __init__(self, app: RabbitJobs) -> None:
        options = app.settings.notify or NotifyOptions()
        self._app = app
        store = app.parts.store
        memory = StoreMemory(store) if store is not None else None
        self._notifier = Notifier(options, channels=build(options), memory=memory)
        self._consumer = SystemConsumer(
            queue=names.notify_queue(app.namespace),
            session=app.parts.session(),
            handle=self._take,
            prefetch=options.rate.hold,
            bus=app.bus,
        )

    async def start(self) -> None:
        """See ``Role``."""
        await self._consumer.start()

    async def _take(self, delivery: Delivery) -> None:
        try:
            note = note_of(delivery)
        except Undecodable as error:
            settlement = quarantined(delivery, error.text, self._consumer.queue, self._app.spec)
            for outgoing in settlement.sends:
                await self._app.publisher.confirmed(outgoing)
            return
        await self._notifier.take(note)
        if self._app.bus:
            self._app.bus.emit(events.NoticeHandled(at=now(), queue=note.queue, job=note.job))

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """See ``Role``."""
        # First the notifier: whoever waits for a digest gives its note back at once.
        closing = asyncio.ensure_future(self._notifier.close())
        hurried = asyncio.ensure_future(hurry.wait())
        await asyncio.wait([closing, hurried], return_when=asyncio.FIRST_COMPLETED)
        for task in (closing, hurried):
            task.cancel()
        return await self._consumer.drain(grace, hurry)


def _key(delivery: Delivery) -> tuple[str, int]:
    return str(delivery.properties.message_id), hash(delivery.body)


def _review_queues(app: RabbitJobs) -> list[str]:
    spec = app.spec
    own = [
        names.review_queue(spec.namespace, one.name)
        for one in spec.queues.values()
        if one.review_own
    ]
    return [names.review_queue(spec.namespace), *own]


def _to_quarantine(
    spec: TopologySpec, delivery: Delivery, message: FailedMessage, why: str
) -> tuple[Outgoing, ...]:
    """What the store takes as no case is seen in quarantine, with what had failed before."""
    envelope, before = message.envelope, message.failure
    error = f"case could not be stored: {why}"
    if envelope is None:
        return quarantined(delivery, error, message.queue, spec).sends
    if before is not None:
        error = f"{error}; it was {before.error_type}: {before.error}"
    failure = Failure(kind="unstorable", error_type="StoreRefused", error=error[:ERROR_SHOWN])
    outcome = Outcome(envelope=envelope, started=now(), ended=now(), failure=failure)
    terms = Terms(spec=spec, keep=0.0, ignore_result=False, worker="intake")
    return unstorable(outcome, why, terms)[2].sends

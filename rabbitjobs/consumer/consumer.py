"""Consuming one queue: slots, adoption of redeliveries, draining. The place that acks jobs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from datetime import timedelta

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer.attachment import Attachment
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.consumer.handle import Handler, about
from rabbitjobs.consumer.refusals import Refusals
from rabbitjobs.errors import SignatureRefused, Undecodable
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.topology import names
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State

# A message whose handling broke in our own code is given back after this pause, so that a fault
# of ours is a slow loop in the log and not a hot one.
FAULT_PAUSE_SECONDS = 5.0
# And not an endless one: RabbitMQ 4.3 counts no message that is given back. After this many faults
# of one attempt here a person decides.
FAULTS_BEFORE_REVIEW = 3


class _Running:
    """One attempt that runs here; ``handed`` changes when the broker delivers it anew."""

    __slots__ = ("envelope", "handed", "key", "since", "task")

    def __init__(self, envelope: Envelope | None, handed: Handed) -> None:
        self.envelope = envelope
        self.key = (envelope.id, envelope.attempt) if envelope is not None else None
        self.since = now()
        self.handed = handed
        self.task: asyncio.Task[None] | None = None


class QueueConsumer:
    """Runs the jobs of one queue on the loop it is started on, at most ``slots`` at a time.

    It holds at most ``prefetch`` messages, those that run included; without it one for each slot.
    ``timeout`` is the consumer timeout that it asks for; without it the queue's or the node's.
    """

    def __init__(
        self,
        *,
        queue: str,
        namespace: str,
        session: Session,
        handler: Handler,
        slots: int,
        bus: events.Bus,
        prefetch: int | None = None,
        ordered: bool = False,
        timeout: timedelta | None = None,
    ) -> None:
        self.queue = queue
        self._attachment = Attachment(
            name=queue,
            queue=names.work_queue(namespace, queue),
            session=session,
            prefetch=prefetch or slots,
            take=self._take,
            bus=bus,
            takes_turns=ordered,
            timeout=timeout,
            lost=self._forget_waiting,
        )
        self._handler = handler
        self._slots = slots
        self._bus = bus
        self._waiting: deque[tuple[Envelope | None, str, Handed]] = deque()
        self._running: set[_Running] = set()
        self._by_key: dict[tuple[str, int], _Running] = {}
        self._faults = Refusals()
        self._stopping = False
        self._cancelling = False
        self._settled = 0
        self._returned = 0
        self._idle = asyncio.Event()

    @property
    def state(self) -> State:
        """Whether it consumes."""
        return self._attachment.state

    @property
    def busy(self) -> int:
        """How many attempts run now."""
        return len(self._running)

    async def start(self) -> None:
        """Subscribe; returns at once, ``state`` says when it consumes."""
        self._loop = asyncio.get_running_loop()
        self._attachment.start()

    # --- one message ----------------------------------------------------------------------------

    def _take(self, handed: Handed) -> None:
        if self._stopping:
            self._hand_back(self._read(handed)[0], handed)
            return
        if self._waiting and self._waiting[0][2].epoch != handed.epoch:
            self._forget_waiting()
        envelope, why = self._read(handed)
        if envelope is not None and self._adopt(envelope, handed):
            return
        if len(self._running) < self._slots:
            self._start(envelope, why, handed)
        else:  # a prefetch beyond the slots, or after a reconnect: old attempts still run
            self._waiting.append((envelope, why, handed))

    def _forget_waiting(self) -> None:
        """What has not started is delivered again, here or to others: it must not run twice."""
        for _, _, handed in self._waiting:
            # A consumer that left in order holds it open until then; for any other it is too late.
            self._attachment.nack(handed)
        self._waiting.clear()

    def _read(self, handed: Handed) -> tuple[Envelope | None, str]:
        delivery = handed.delivery
        if delivery.damage is not None:
            return None, delivery.damage
        try:
            envelope = decode(delivery.properties, delivery.body, queue=self.queue)
            self._handler.authenticate(envelope)
            return envelope, ""
        except (Undecodable, SignatureRefused) as error:
            return None, error.text

    def _adopt(self, envelope: Envelope, handed: Handed) -> bool:
        running = self._by_key.get((envelope.id, envelope.attempt))
        if running is None:
            return False
        if running.handed.epoch == handed.epoch:
            # Two messages of one attempt at the same time: the second waits for the first's end.
            self._waiting.append((envelope, "", handed))
            return True
        running.handed = handed
        self._bus.emit(events.DeliveryAdopted(at=now(), **about(envelope)))
        return True

    def _start(self, envelope: Envelope | None, why: str, handed: Handed) -> None:
        running = _Running(envelope, handed)
        self._running.add(running)
        if envelope is None:
            work = self._handler.quarantine(handed.delivery, why)
        else:
            self._by_key[(envelope.id, envelope.attempt)] = running
            work = self._handler.handle(envelope, redelivered=handed.delivery.redelivered)
        running.task = self._loop.create_task(self._carry(running, work))

    async def _carry(self, running: _Running, work: Awaitable[None]) -> None:
        """One terminal call for each delivery: ack after the ending, or give back, or (when this
        process stops with it) leave it to the broker."""
        try:
            await work
        except (Exception, asyncio.CancelledError) as error:
            # A fault of ours, or of a job that cancels its task after its end: no ack without an
            # ending, and no slot that is lost either.
            if isinstance(error, asyncio.CancelledError):
                if self._cancelling:
                    self._free(running)
                    raise
                _shake_off_cancel()
            if not await self._given_up(running, error):
                await asyncio.sleep(FAULT_PAUSE_SECONDS)
                self._give_back(running.handed)
                self._free(running)
                return
        self._attachment.ack(running.handed)
        self._settled += 1
        if self._faults and running.key is not None:
            self._faults.forget(running.key)
        self._free(running)

    async def _given_up(self, running: _Running, error: BaseException) -> bool:
        """Whether the attempt has an ending after all, because its handling failed too often."""
        self._loop.call_exception_handler(
            {"message": "handling a message failed; it is given back", "exception": error}
        )
        if running.key is None:
            return False
        faults = self._faults.add(running.key)
        envelope, _ = self._read(running.handed)
        if envelope is None or faults < FAULTS_BEFORE_REVIEW:
            return False
        try:
            await self._handler.give_up(envelope, error)
        except Exception as again:
            self._loop.call_exception_handler(
                {"message": "a message could not be given up either", "exception": again}
            )
            return False
        return True

    def _free(self, running: _Running) -> None:
        self._running.discard(running)
        if running.key is not None:
            self._by_key.pop(running.key, None)
        if self._waiting:
            self._start_waiting()
        if not self._running:
            self._idle.set()

    def _start_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            if self._stopping or len(self._running) >= self._slots:
                break
            envelope, why, handed = self._waiting.popleft()
            if envelope is None or not self._adopt(envelope, handed):
                self._start(envelope, why, handed)

    def _give_back(self, handed: Handed) -> None:
        self._returned += 1
        self._attachment.nack(handed)

    def _hand_back(self, envelope: Envelope | None, handed: Handed) -> None:
        """Give back what never started, and say so."""
        self._give_back(handed)
        if envelope is not None and self._bus:
            self._bus.emit(events.JobHandedBack(at=now(), **about(envelope)))

    def _abandon(self, running: _Running) -> None:
        """Leave what still runs to the broker, and say so."""
        if running.envelope is not None and self._bus:
            seconds = max(now() - running.since, 0.0)
            self._bus.emit(
                events.JobAbandoned(at=now(), seconds=seconds, **about(running.envelope))
            )
        if running.task is not None:
            running.task.cancel()

    # --- the end --------------------------------------------------------------------------------

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """Stop taking, give back what never started, finish what runs within ``grace`` seconds.

        ``hurry`` (a second signal) ends the grace at once. What still runs then is abandoned:
        it is not acked, so the broker delivers it again.
        """
        settled, returned = self._settled, self._returned
        self._stopping = True
        if not await self._attachment.stop():
            return Drained(0, 0, 0)
        # One turn of the loop: what the I/O thread posted before the cancel is given back too.
        await asyncio.sleep(0)
        for envelope, _, handed in self._waiting:
            self._hand_back(envelope, handed)
        self._waiting.clear()
        await self._finish_running(grace, hurry)
        abandoned = len(self._running)
        self._handler.stop()
        self._cancelling = True
        for running in tuple(self._running):
            self._abandon(running)
        await self._attachment.finish()
        return Drained(self._settled - settled, self._returned - returned, abandoned)

    async def _finish_running(self, grace: float, hurry: asyncio.Event) -> None:
        if not self._running:
            return
        self._idle.clear()
        waits = [asyncio.ensure_future(self._idle.wait()), asyncio.ensure_future(hurry.wait())]
        await asyncio.wait(waits, timeout=grace, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _shake_off_cancel() -> None:
    task = asyncio.current_task()
    while task is not None and task.uncancel():
        pass

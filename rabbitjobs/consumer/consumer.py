"""Consuming one queue: slots, adoption of redeliveries, draining. The place that acks jobs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from datetime import timedelta

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer.attachment import Attachment
from rabbitjobs.consumer.autoscale import Autoscale
from rabbitjobs.consumer.drained import Drained
from rabbitjobs.consumer.faults import Faults
from rabbitjobs.consumer.handle import Handler, about
from rabbitjobs.consumer.limits.gate import Gate
from rabbitjobs.consumer.limits.parked import Admission
from rabbitjobs.consumer.running import Running, first_of, shake_off_cancel
from rabbitjobs.errors import SignatureRefused, Undecodable
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store.cancellations import Cancellation
from rabbitjobs.topology import names
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State

# A message whose handling broke in our own code is given back after this pause, so that a fault
# of ours is a slow loop in the log and not a hot one.
FAULT_PAUSE_SECONDS = 5.0


class QueueConsumer:
    """Runs the jobs of one queue on the loop it is started on, at most ``slots`` at a time.

    It holds at most ``prefetch`` messages, those that run included; without it one for each slot,
    and those for which ``gate`` has room. ``autoscale`` changes the slots as it goes. ``timeout``
    is the consumer timeout that it asks for; without it the queue's or the node's.
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
        gate: Gate | None = None,
        autoscale: Autoscale | None = None,
        timeout: timedelta | None = None,
    ) -> None:
        self.queue = queue
        self.slots = slots
        self._least_prefetch = prefetch or 0
        self._gate = gate
        self._autoscale = autoscale
        self._attachment = Attachment(
            name=queue,
            queue=names.work_queue(namespace, queue),
            session=session,
            prefetch=self._prefetch(),
            take=self._take,
            bus=bus,
            takes_turns=ordered,
            timeout=timeout,
            lost=self._forget_waiting,
            rested=self._return_waiting,
        )
        self._handler = handler
        self._bus = bus
        self._waiting: deque[tuple[Envelope | None, str, Handed]] = deque()
        self._running: set[Running] = set()
        self._leaving: set[Running] = set()
        self._life = 0
        self._gate_first = False
        self._by_key: dict[tuple[str, int], Running] = {}
        self._faults = Faults(handler)
        self._stopping = False
        self._paused = False
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

    def running(self, job_id: str) -> Envelope | None:
        """The attempt of a job that runs here now; on the loop."""
        return next((one.envelope for key, one in self._by_key.items() if key[0] == job_id), None)

    async def start(self) -> None:
        """Subscribe; returns at once, ``state`` says when it consumes."""
        self._loop = asyncio.get_running_loop()
        if self._gate is not None:
            self._gate.open(self)
        self._attachment.start()
        if self._autoscale is not None:
            self._autoscale.start(self)

    @property
    def waiting(self) -> int:
        """How many messages wait here for a slot."""
        return len(self._waiting)

    async def backlog(self) -> tuple[int, int]:
        """How many messages are ready in the queue, for how many consumers."""
        return await self._attachment.backlog()

    def resize(self, slots: int) -> None:
        """Run ``slots`` jobs at a time from now on; what runs beyond that goes on to its end."""
        if self._stopping:
            return
        self.slots = slots
        self._attachment.resize(self._prefetch())
        self._start_waiting()
        if self._gate is not None:
            self._gate.look()

    def _prefetch(self) -> int:
        room = self._gate.room(self.slots) if self._gate is not None else 0
        return max(self._least_prefetch, self.slots + room)

    # --- what the gate needs --------------------------------------------------------------------

    def free_slots(self) -> int:
        """See ``Doors``."""
        return 0 if self._stopping or self._paused else self.slots - len(self._running)

    def admit(self, envelope: Envelope, handed: Handed, admission: Admission) -> None:
        """See ``Doors``."""
        if not self._adopt(envelope, handed):
            self._start(envelope, "", handed, admission)
        elif self._gate is not None:
            self._gate.ended(admission)

    def dismiss(self, envelope: Envelope, handed: Handed, work: Awaitable[None]) -> None:
        """See ``Doors``."""
        leaving = Running(envelope, handed, self._life)
        self._leaving.add(leaving)
        self._by_key.setdefault((envelope.id, envelope.attempt), leaving)
        leaving.task = self._loop.create_task(self._carry(leaving, work))

    # --- one message ----------------------------------------------------------------------------

    def _take(self, handed: Handed) -> None:
        if self._stopping:
            self._hand_back(self._read(handed)[0], handed)
            return
        envelope, why = self._read(handed)
        if envelope is not None and self._adopt(envelope, handed):
            return
        if envelope is not None and self._wait_at_gate(envelope, handed):
            return
        if len(self._running) < self.slots and not self._paused:
            self._start(envelope, why, handed)
        else:  # a prefetch beyond the slots, or after a reconnect: old attempts still run
            self._waiting.append((envelope, why, handed))

    def _wait_at_gate(self, envelope: Envelope, handed: Handed) -> bool:
        """What is cancelled starts no code: it needs no rate and no key for its end."""
        if self._gate is None or self._handler.is_cancelled(envelope):
            return False
        return self._gate.take(envelope, handed)

    def _return_waiting(self) -> None:
        """Not before the consumer is cancelled: they would come straight back, and be counted."""
        while self._waiting:
            envelope, _, handed = self._waiting.popleft()
            self._hand_back(envelope, handed)
        for parked, handed in self._gate.empty() if self._gate is not None else ():
            self._hand_back(parked, handed)

    def _forget_waiting(self) -> None:
        """What has not started is delivered again, here or to others: it must not run twice."""
        self._life += 1
        self._waiting.clear()
        if self._gate is not None:
            self._gate.empty()

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
        if running.life == self._life:
            # Two messages of one attempt at the same time: the second waits for the first's end.
            self._waiting.append((envelope, "", handed))
            return True
        running.handed, running.life = handed, self._life
        self._bus.emit(events.DeliveryAdopted(at=now(), **about(envelope)))
        return True

    def _start(
        self,
        envelope: Envelope | None,
        why: str,
        handed: Handed,
        admission: Admission | None = None,
    ) -> None:
        running = Running(envelope, handed, self._life, admission)
        self._running.add(running)
        if envelope is None:
            work = self._handler.quarantine(handed.delivery, why)
        else:
            self._by_key[(envelope.id, envelope.attempt)] = running
            work = self._handler.handle(
                envelope, redelivered=handed.delivery.redelivered, admission=admission
            )
        running.task = self._loop.create_task(self._carry(running, work))

    async def _carry(self, running: Running, work: Awaitable[None]) -> None:
        """One terminal call for each delivery: ack after the ending, or give back, or (when this
        process stops with it) leave it to the broker."""
        try:
            await work
        except (Exception, asyncio.CancelledError) as error:
            # A fault of ours, or of a job that cancels its task after its end: no ack without an
            # ending, and no slot that is lost either.
            if isinstance(error, asyncio.CancelledError):
                if self._cancelling:
                    if running.admission is not None and self._gate is not None:
                        self._gate.left(running.admission)
                    self._free(running)
                    raise
                shake_off_cancel()
            if not await self._faults.outlasted(running, error, FAULT_PAUSE_SECONDS):
                if not self._cancelling:
                    self._give_back(running.handed)
                self._free(running)
                return
        self._attachment.ack(running.handed)
        self._settled += 1
        self._faults.forget(running)
        self._free(running)

    def _free(self, running: Running) -> None:
        if self._autoscale is not None and running in self._running:
            self._autoscale.took(now() - running.since)
        self._running.discard(running)
        self._leaving.discard(running)
        if running.key is not None and self._by_key.get(running.key) is running:
            del self._by_key[running.key]
        if self._gate is not None:
            if running.admission is not None:
                self._gate.ended(running.admission)
            # In turns: neither those who wait for a slot nor those who wait for a rate starve.
            self._gate_first = not self._gate_first
            if self._gate_first:
                self._gate.look_now()
        if self._waiting:
            self._start_waiting()
        if self._gate is not None:
            self._gate.look()
        if not self._running and not self._leaving:
            self._idle.set()

    def _start_waiting(self) -> None:
        for _ in range(len(self._waiting)):
            if self._stopping or self._paused or len(self._running) >= self.slots:
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

    def _abandon(self, running: Running) -> None:
        """Leave what still runs to the broker, and say so."""
        if running.envelope is not None and self._bus:
            seconds = max(now() - running.since, 0.0)
            self._bus.emit(
                events.JobAbandoned(at=now(), seconds=seconds, **about(running.envelope))
            )
        if running.task is not None:
            running.task.cancel()

    # --- what others ask for --------------------------------------------------------------------

    @property
    def counts(self) -> tuple[int, int]:
        """How many messages were settled, and how many given back, since the start."""
        return self._settled, self._returned

    def reserved(self) -> tuple[Envelope, ...]:
        """What is held here and has not started; from any thread."""
        parked = self._gate.waiting() if self._gate is not None else ()
        waiting = (envelope for envelope, _, _ in self._waiting.copy() if envelope is not None)
        return (*parked, *waiting)

    def tasks(self) -> dict[tuple[str, int], asyncio.Task[None]]:
        """The tasks of what runs, by (job id, attempt); from any thread."""
        return {
            running.key: running.task
            for running in self._running.copy()
            if running.key is not None and running.task is not None
        }

    def cancel(self, order: Cancellation) -> None:
        """End what runs here and is meant by this order; what has not started ends at its turn."""
        for running in tuple(self._running):
            envelope = running.envelope
            if envelope is not None and running.key is not None and order.means(envelope):
                self._handler.cancel(running.key, order, running.task)
        if self._gate is not None:
            for parked, handed in self._gate.withdraw(order.means):
                self._waiting.append((parked, "", handed))
            self._start_waiting()

    def set_slots(self, slots: int) -> None:
        """As ``resize``, for good: the slots do not follow the backlog any more."""
        if self._autoscale is not None:
            self._autoscale.stop()
        self._handler.resize(slots)
        self.resize(slots)

    def limit(self, gate: Gate) -> None:
        """Let jobs in by ``gate`` from now on, or by its new limits if it is the one there is."""
        if self._stopping:
            return
        self._gate = gate
        gate.open(self)
        waiting, self._waiting = self._waiting, deque()
        for envelope, why, handed in waiting:
            if envelope is None or not self._wait_at_gate(envelope, handed):
                self._waiting.append((envelope, why, handed))
        self._attachment.resize(self._prefetch())
        gate.look()

    def pause(self) -> None:
        """Take nothing more, until ``resume``; what runs goes on, what waits is given back."""
        self._paused = True
        self._attachment.pause()

    def resume(self) -> None:
        """Consume again after ``pause``."""
        self._paused = False
        self._attachment.resume()
        self._start_waiting()
        if self._gate is not None:
            self._gate.look()

    # --- the end --------------------------------------------------------------------------------

    async def drain(self, grace: float, hurry: asyncio.Event) -> Drained:
        """Stop taking, give back what never started, finish what runs within ``grace`` seconds.

        ``hurry`` (a second signal) ends the grace at once. What still runs then is abandoned:
        it is not acked, so the broker delivers it again.
        """
        settled, returned = self._settled, self._returned
        self._stopping = True
        if self._autoscale is not None:
            self._autoscale.stop()
        if not await self._attachment.stop():
            return Drained(0, 0, 0)
        # One turn of the loop: what the I/O thread posted before the cancel is given back too.
        await asyncio.sleep(0)
        self._return_waiting()
        if self._running or self._leaving:
            self._idle.clear()
            await first_of(self._idle, hurry, grace)
        abandoned = len(self._running)
        self._handler.stop()
        self._cancelling = True
        for running in (*self._running, *self._leaving):
            self._abandon(running)
        if self._gate is not None:
            await self._gate.close()
        await self._attachment.finish()
        return Drained(self._settled - settled, self._returned - returned, abandoned)

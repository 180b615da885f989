"""A worker's ear for remote control: reads requests, does what they ask, answers.

It lives on the I/O thread, so that it answers while a job blocks the event loop. What changes
something is done on that loop. A request that cannot be read whole changes nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from typing import Any, Final

from rabbitjobs import events
from rabbitjobs.clock import now
from rabbitjobs.consumer import controlled as state
from rabbitjobs.consumer.controlled import Controlled
from rabbitjobs.control import protocol
from rabbitjobs.control.client import ALL
from rabbitjobs.control.protocol import Answer, Request
from rabbitjobs.errors import RabbitJobsError, Undecodable
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Delivery, Outgoing, Wire
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State, Subscription

CONTROL: Final = "control"
PREFETCH: Final = 100
# A little more than a pool takes to hear from its children.
STACKS_SECONDS: Final = 1.5


class ControlServer:
    """Hears requests for ``worker`` and answers them."""

    def __init__(
        self,
        *,
        session: Session,
        namespace: str,
        worker: str,
        queues: Sequence[Controlled],
        registry: Registry,
        bus: events.Bus,
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._worker = worker
        self._queues = queues
        self._registry = registry
        self._bus = bus
        self._queue = names.control_queue(namespace, worker, os.urandom(4).hex())
        self._subscription: Subscription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._telling: asyncio.Task[None] | None = None
        self._failed = False
        self.since = now()

    def start(self) -> None:
        """Listen from now on; call it on the worker's loop."""
        self._loop = asyncio.get_running_loop()
        link = self._session.consume()

        def subscribe() -> None:
            self._subscription = Subscription(
                link,
                self._queue,
                prefetch=PREFETCH,
                deliver=self._deliver,
                changed=self._changed,
                prepare=self._declare,
            )

        self._session.portal.post(subscribe)

    async def stop(self) -> None:
        """Hear nothing more."""
        if self._subscription is not None:
            await self._session.portal.run(self._subscription.stop())
            await self._session.portal.run(self._subscription.finish())

    # --- on the I/O thread ----------------------------------------------------------------------

    async def _declare(self, wire: Wire) -> None:
        exchange = names.control_exchange(self._namespace)
        await wire.temporary_queue(self._queue, exchange=exchange, keys=(ALL,))

    def _changed(self, state: State, reason: str) -> None:
        """Of what is as it should be there is nothing to say: the queues of work say it."""
        if state == "failed" or (self._failed and state == "consuming"):
            self._failed = state == "failed"
            self._emit(events.ConsumerChanged(at=now(), queue=CONTROL, state=state, reason=reason))

    def _deliver(self, arrived: list[Handed]) -> None:
        assert self._subscription is not None
        for handed in arrived:
            self._subscription.ack(handed)
            try:
                request = _request_of(handed.delivery)
            except Undecodable as error:
                self._emit(events.ControlDropped(at=now(), worker=self._worker, reason=error.text))
                continue
            if not request.to or self._worker in request.to:
                self._take(request)

    def _take(self, request: Request) -> None:
        match request.command:
            case protocol.Ping():
                self._answer(request, {"pid": os.getpid()})
            case protocol.Stats():
                self._answer(request, state.stats(self._queues, self.since))
            case protocol.Active():
                self._answer(request, state.active(self._queues))
            case protocol.Reserved():
                self._answer(request, state.reserved(self._queues))
            case protocol.Registered():
                self._answer(request, state.registered(self._registry))
            case protocol.Stacks():
                self._telling = self._session.portal.loop.create_task(self._tell_stacks(request))
            case _:
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody is here
                    self._loop.call_soon_threadsafe(self._begin, request)

    async def _tell_stacks(self, request: Request) -> None:
        """Those of other processes come by way of the worker's loop, which may be blocked."""
        elsewhere: dict[tuple[str, int], str | None] = {}
        asking = state.stacks_elsewhere(self._queues)
        try:
            asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
        except RuntimeError:  # the loop has ended: nothing runs here any more
            asking.close()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STACKS_SECONDS):
                elsewhere = await asyncio.wrap_future(asked)
        self._answer(request, state.stacks(self._queues, elsewhere))

    def _answer(self, request: Request, value: Any = None, error: str | None = None) -> None:
        if request.reply is None:
            return
        answer = Answer(worker=self._worker, asked=request.at, value=value, error=error)
        properties = Properties(
            message_id=os.urandom(8).hex(), content_type="application/json", delivery_mode=1
        )
        outgoing = Outgoing(
            names.events_exchange(self._namespace),
            protocol.answer_key(request.reply),
            properties,
            protocol.encode(answer),
            mandatory=False,
        )
        self._session.outbound.fire(outgoing)

    def _emit(self, event: events.Event) -> None:
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._bus.emit, event)

    # --- on the worker's loop -------------------------------------------------------------------

    def _begin(self, request: Request) -> None:
        task = self._loop.create_task(self._do(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _do(self, request: Request) -> None:
        name = str(request.command.__struct_config__.tag)
        try:
            value, error = await self._change(request), None
        except RabbitJobsError as refused:
            value, error = None, str(refused)
        self._session.portal.post(self._answer, request, value, error)
        if error is None and not isinstance(request.command, protocol.Cancel):
            self._bus.emit(
                events.ControlHeard(at=now(), worker=self._worker, command=name, who=request.who)
            )
        if isinstance(request.command, protocol.Shutdown):
            self._bus.emit(events.WorkerToldToStop(at=now(), worker=self._worker, who=request.who))

    async def _change(self, request: Request) -> Any:
        match request.command:
            case protocol.Cancel():
                return await self._read_cancellations()
            case protocol.SetSlots(queue=queue, slots=slots):
                return [one.set_slots(slots) for one in self._of(queue)]
            case protocol.Pause(queue=queue):
                return [one.pause() for one in self._of(queue)]
            case protocol.Resume(queue=queue):
                return [one.resume() for one in self._of(queue)]
            case protocol.SetRate(queue=queue, rate=rate, job=job):
                return [one.set_rate(rate, job) for one in self._of(queue)]
        return None

    async def _read_cancellations(self) -> Any:
        books = [one.book for one in self._queues if one.book is not None]
        for book in books:
            await book.renew()
        return {"known": sum(len(book) for book in books)}

    def _of(self, queue: str) -> list[Controlled]:
        """What is here of a queue; a worker of other queues has nothing to do, and says so."""
        return [one for one in self._queues if one.queue == queue]


def _request_of(delivery: Delivery) -> Request:
    """What came, if it came whole and in time; raises ``Undecodable``: nothing is to be done."""
    if delivery.damage is not None:
        raise Undecodable(delivery.damage)
    request = protocol.read_request(delivery.body)
    if abs(now() - request.at) > protocol.STALE_SECONDS:
        raise Undecodable("expected a request of these minutes, got another")
    return request

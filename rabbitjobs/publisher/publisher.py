"""Sending: check, route, encode, publish, confirm. Sync and async, from any thread or loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import msgspec

from rabbitjobs import failpoints
from rabbitjobs.backend.protocol import Results
from rabbitjobs.clock import uuid7
from rabbitjobs.errors import RabbitJobsError, SendError, SendRejected, StoreError, StoreUnavailable
from rabbitjobs.job.blocking import refuse_in_loop
from rabbitjobs.job.call import Call
from rabbitjobs.job.handle import Cancels, JobHandle
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.publisher.flight import Flight
from rabbitjobs.publisher.outcomes import error_of
from rabbitjobs.publisher.prepare import envelope_of, outgoing_of
from rabbitjobs.publisher.unique import UniqueKeys
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.mailbox import Mailbox
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Unknown

if TYPE_CHECKING:
    from rabbitjobs.message.signing import Signing
    from rabbitjobs.wire.session import Session

DEADLINE_SECONDS = 10.0
# A claimed key waits this much longer than the publish for the word that the job is stored.
CLAIM_SECONDS = 60.0
# ``send_many`` has at most this many publishes in flight: the broker's confirms pace it.
WINDOW = 2000


class Sent(msgspec.Struct, frozen=True):
    """What became of one call of ``send_many``: its handle, and the error if not confirmed."""

    handle: JobHandle[Any]
    error: RabbitJobsError | None = None

    @property
    def ok(self) -> bool:
        """Whether the broker has confirmed it."""
        return self.error is None


class Publisher:
    """Publishes calls over a session. Thread-safe; the session is asked for at each use (fork)."""

    def __init__(
        self,
        *,
        spec: Callable[[], TopologySpec],
        session: Callable[[], Session],
        results: Callable[[], Results | None],
        unique: Callable[[], UniqueKeys | None],
        outbox: Callable[[Any, Envelope, Callable[[], None]], None],
        deadline: Callable[[], float] = lambda: DEADLINE_SECONDS,
        app_id: str | None = None,
        check_on_done: Callable[[str], None] = lambda _url: None,
        note_sent: Callable[[Envelope], None] = lambda _envelope: None,
        signing: Callable[[], Signing | None] = lambda: None,
        canceller: Callable[[], Cancels | None] = lambda: None,
    ) -> None:
        self._spec = spec
        self._session = session
        self._results = results
        self._unique = unique
        self._outbox = outbox
        self._deadline = deadline
        self._app_id = app_id
        self._check_on_done = check_on_done
        self._note_sent = note_sent
        self._signing = signing
        self._canceller = canceller
        self._mailboxes: dict[asyncio.AbstractEventLoop, Mailbox] = {}

    # --- one ------------------------------------------------------------------------------------

    def send(self, call: Call) -> JobHandle[Any]:
        """Publish and wait for the confirm; see ``Job.send`` for what it raises."""
        refuse_in_loop("send", "asend")
        envelope, outgoing = self._prepare(call)
        if call.options.tx is not None:
            return self._promise(call, envelope)
        taken = self._claim(call, envelope)
        if taken is not None:
            return taken
        try:
            outcome = self.publish(outgoing, self._timeout(call))
        except RabbitJobsError:  # there is no broker to ask: nothing was sent
            self._let_go(envelope)
            raise
        self._settle_key(envelope, outcome)
        return self._confirmed(call, envelope, outcome)

    async def asend(self, call: Call) -> JobHandle[Any]:
        """The a-twin of ``send``. A transaction (``tx=``) must be a synchronous one."""
        envelope, outgoing = self._prepare(call)
        if call.options.tx is not None:
            return self._promise(call, envelope)
        if call.options.unique is not None:
            taken = await asyncio.to_thread(self._claim, call, envelope)
            if taken is not None:
                return taken
        try:
            outcome = await self.apublish(outgoing, self._timeout(call))
        except RabbitJobsError:
            await asyncio.to_thread(self._let_go, envelope)
            raise
        if envelope.unique is not None:
            await asyncio.to_thread(self._settle_key, envelope, outcome)
        return self._confirmed(call, envelope, outcome)

    # --- many -----------------------------------------------------------------------------------

    def send_many(self, calls: Iterable[Call]) -> list[Sent]:
        """Publish many, pipelined, and wait for all confirms: one outcome for each, in order.

        Raises nothing for a call that is refused: its ``Sent`` carries the error. ``unique=`` and
        ``tx=`` are refused so (``SendRejected``): they need ``send``.
        """
        refuse_in_loop("send_many", "asend_many")
        flight = Flight(WINDOW, lambda requests: self._session().publish_all(requests))
        begun = [self._begin(call, flight) for call in calls]
        flight.land()
        return [
            one if isinstance(one, Sent) else self._finish(*one, flight.outcomes[number])
            for number, one in enumerate(begun)
        ]

    async def asend_many(self, calls: Iterable[Call]) -> list[Sent]:
        """The a-twin of ``send_many``."""
        return await asyncio.to_thread(self.send_many, list(calls))

    def _begin(self, call: Call, flight: Flight) -> Sent | tuple[Call, Envelope]:
        try:
            if call.options.unique is not None or call.options.tx is not None:
                raise _not_for_many(call)
            envelope, outgoing = self._prepare(call)
        except RabbitJobsError as error:
            flight.skip()
            return Sent(JobHandle(error.job_id or ""), error)
        flight.board(outgoing, self._timeout(call))
        return call, envelope

    def _finish(self, call: Call, envelope: Envelope, outcome: Outcome) -> Sent:
        error = self._error(envelope, outcome)
        if error is None:
            failpoints.reach("after-publish-confirm")
            self._note_sent(envelope)
        return Sent(self._handle(call, envelope), error)

    # --- raw ------------------------------------------------------------------------------------

    def publish(self, outgoing: Outgoing, timeout: float) -> Outcome:
        """Publish one message and wait for its outcome."""
        # A third of what a Future with its Condition costs.
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._session().publish(outgoing, timeout, outcomes.put)
        return outcomes.get()

    async def apublish(self, outgoing: Outgoing, timeout: float) -> Outcome:
        """The a-twin of ``publish``."""
        loop = asyncio.get_running_loop()
        mailbox = self._mailboxes.get(loop) or self._new_mailbox(loop)
        future: asyncio.Future[Outcome] = loop.create_future()

        def resolve(outcome: Outcome) -> None:
            if not future.done():  # the waiter may have been cancelled
                future.set_result(outcome)

        post = mailbox.post
        self._session().publish(outgoing, timeout, lambda outcome: post(resolve, outcome))
        return await future

    def _new_mailbox(self, loop: asyncio.AbstractEventLoop) -> Mailbox:
        # By hand, for a weak dictionary keeps what its values hold, and a mailbox holds its loop.
        for known in tuple(self._mailboxes):
            if known.is_closed():
                self._mailboxes.pop(known, None)
        made = self._mailboxes[loop] = Mailbox(loop)
        return made

    async def confirmed(self, outgoing: Outgoing) -> None:
        """Publish and raise unless it was confirmed: what endings and releases need."""
        error = error_of(await self.apublish(outgoing, self._deadline()))
        if error is not None:
            raise error

    # --- parts ----------------------------------------------------------------------------------

    def _timeout(self, call: Call) -> float:
        return self._deadline() if call.options.timeout is None else call.options.timeout

    def _prepare(self, call: Call) -> tuple[Envelope, Outgoing]:
        options, definition, job_id = call.options, call.definition, call.options.id or uuid7()
        try:
            if options.on_done is not None:
                self._check_on_done(options.on_done)
            spec = self._spec()
            envelope = envelope_of(call, spec, job_id=job_id, app_id=self._app_id)
            signing = self._signing()
            if signing is not None:
                envelope = signing.sign(envelope)
            return envelope, outgoing_of(envelope, spec)
        except RabbitJobsError as error:
            queue = options.queue or definition.queue
            raise error.concerning(queue=queue, job=definition.name, job_id=job_id)  # noqa: B904

    def _promise(self, call: Call, envelope: Envelope) -> JobHandle[Any]:
        """Into the caller's transaction, not to the broker: the handle hears of a rollback."""
        handle = self._handle(call, envelope)
        self._outbox(call.options.tx, envelope, handle.not_sent)
        return handle

    def _claim(self, call: Call, envelope: Envelope) -> JobHandle[Any] | None:
        """The handle of the job that holds the unique key; ``None`` if the key is now ours."""
        if envelope.unique is None:
            return None
        keys = self._unique()
        if keys is None:
            raise StoreError(
                "expected a store for unique=, got none; set store.url", job=envelope.job
            )
        holder = keys.claim(envelope, self._timeout(call) + CLAIM_SECONDS)
        if holder is None or holder == envelope.id:
            return None
        return self._handle(call, msgspec.structs.replace(envelope, id=holder))

    def _settle_key(self, envelope: Envelope, outcome: Outcome) -> None:
        """Keep the key of a stored job, free that of one that is not; else the claim runs out."""
        keys = self._unique() if envelope.unique is not None else None
        if keys is None:
            return
        if isinstance(outcome, Confirmed):
            with contextlib.suppress(StoreUnavailable):  # the job is sent; its key is free sooner
                keys.keep(envelope)
        elif _certain(outcome):
            self._let_go(envelope)

    def _let_go(self, envelope: Envelope) -> None:
        """Free the unique key of a job that was certainly not sent; else the claim runs out."""
        keys = self._unique() if envelope.unique is not None else None
        if keys is not None:
            with contextlib.suppress(StoreUnavailable):
                keys.release(envelope)

    def _confirmed(self, call: Call, envelope: Envelope, outcome: Outcome) -> JobHandle[Any]:
        error = self._error(envelope, outcome)
        if error is not None:
            raise error
        failpoints.reach("after-publish-confirm")
        self._note_sent(envelope)
        return self._handle(call, envelope)

    def _error(self, envelope: Envelope, outcome: Outcome) -> SendError | None:
        return error_of(outcome, queue=envelope.queue, job=envelope.job, job_id=envelope.id)

    def _handle(self, call: Call, envelope: Envelope) -> JobHandle[Any]:
        arguments = call.definition.arguments
        return JobHandle(
            envelope.id,
            self._results,
            returns=arguments.returns if arguments else Any,
            sent=True,
            job=envelope.job,
            queue=envelope.queue,
            ignored=call.definition.ignore_result,
            canceller=self._canceller,
        )


def _not_for_many(call: Call) -> SendRejected:
    options = call.options
    given = "tx=" if options.unique is None else f"unique={options.unique!r}"
    return SendRejected(
        f"expected calls without unique= and tx= in send_many, got {given}; "
        "it was not sent: use send for it",
        queue=options.queue or call.definition.queue,
        job=call.definition.name,
        job_id=options.id,
    )


def _certain(outcome: Outcome) -> bool:
    return not isinstance(outcome, Unknown)

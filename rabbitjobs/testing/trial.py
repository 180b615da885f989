"""An app on trial: what it sent, and a worker that runs it to the end, inside one process."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from rabbitjobs import events
from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole
from rabbitjobs.broker.version import from_version
from rabbitjobs.job.definition import Definition, Job
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import decode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology import names
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire
from rabbitjobs.wire.pika import PikaWire
from rabbitjobs.wire.protocol import Confirmed, Outcome, Outgoing, Wire

PAUSE = 0.02
ONE_DAY = 86_400.0
Ended = events.JobSucceeded | events.JobEnded
_Key = tuple[str, int]


class SentJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job that the app sent and the broker confirmed."""

    job: str
    queue: str
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    envelope: Envelope


class Trial:
    """What the fixture ``rj`` gives a test.

    Sends of ``app`` are recorded once they are confirmed; nothing runs before ``drain``.
    """

    def __init__(self, app: RabbitJobs, memory: MemoryBroker | None) -> None:
        self.app = app
        self._memory = memory
        self._declared: TopologySpec | None = None
        self._changed = threading.Condition()
        self._sent: list[SentJob] = []
        self._open: set[_Key] = set()
        self._ended: list[Ended] = []
        app.bus.listen(self._observe)

    def close(self) -> None:
        """Stop watching the app."""
        self.app.bus.unlisten(self._observe)

    # --- what was sent --------------------------------------------------------------------------

    @property
    def sent(self) -> tuple[SentJob, ...]:
        """Every job sent so far, in the order of the confirms; retries are not among them."""
        with self._changed:
            return tuple(self._sent)

    def sent_of(self, job: Job[..., Any] | str) -> tuple[SentJob, ...]:
        """Every send of one job."""
        name = job if isinstance(job, str) else job.name
        return tuple(one for one in self.sent if one.job == name)

    def assert_sent(self, job: Job[..., Any] | str, /, *args: Any, **kwargs: Any) -> SentJob:
        """Assert that ``job`` was sent; returns the last such send.

        With arguments, with these very ones: ``send(1, b=2)`` and ``send(a=1, b=2)`` are the same
        where the function's code is here.
        """
        name = job if isinstance(job, str) else job.name
        found = self.sent_of(name)
        if args or kwargs:
            wanted = self._bound(name, args, kwargs)
            found = tuple(o for o in found if self._bound(name, o.args, o.kwargs) == wanted)
        if not found:
            raise AssertionError(self._said(name, args, kwargs))
        return found[-1]

    def assert_not_sent(self, job: Job[..., Any] | str) -> None:
        """Assert that ``job`` was not sent at all."""
        found = self.sent_of(job)
        if found:
            raise AssertionError(f"expected {found[0].job} not to be sent, got {len(found)} sends")

    # --- running it -----------------------------------------------------------------------------

    def drain(self, timeout: float = 30.0) -> tuple[Ended, ...]:
        """Run everything that was sent, follow-ups and retries included, until nothing is left.

        Returns how each job ended meanwhile (``JobSucceeded`` or ``JobEnded``): a failed job
        raises nothing here. On the memory wire delays pass at once; on a real broker they are
        waited for. Raises ``AssertionError`` when jobs are left after ``timeout`` seconds. Not
        inside a running event loop: there use ``adrain``.
        """
        with self._changed:
            before = len(self._ended)
        self._declare()
        with self._working():
            self._wait(time.monotonic() + timeout, timeout)
        with self._changed:
            return tuple(self._ended[before:])

    async def adrain(self, timeout: float = 30.0) -> tuple[Ended, ...]:
        """The a-twin of ``drain``; the jobs run in a thread with an event loop of its own."""
        return await asyncio.to_thread(self.drain, timeout)

    # --- inside ---------------------------------------------------------------------------------

    def make_wire(self) -> Wire:
        """A wire that notes what is confirmed: to the broker in memory, or to the real one."""
        noted = self._noted

        class Memory(MemoryWire):
            def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
                super().publish(message, noted(message, done))

        class Real(PikaWire):
            def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
                super().publish(message, noted(message, done))

        return Real() if self._memory is None else Memory(self._memory)

    def _noted(
        self, message: Outgoing, done: Callable[[Outcome], None]
    ) -> Callable[[Outcome], None]:
        self._declare()
        namespace = self.app.namespace
        ours = (names.jobs_exchange(namespace), names.delay_exchange(namespace))

        def settled(outcome: Outcome) -> None:
            if isinstance(outcome, Confirmed) and message.exchange in ours:
                self._note(message)
            done(outcome)

        return settled

    def _note(self, message: Outgoing) -> None:
        queue = str(message.properties.headers.get(h.QUEUE, ""))
        envelope = decode(message.properties, message.body, queue=queue)
        with self._changed:
            self._open.add((envelope.id, envelope.attempt))
            if envelope.attempt == 1 and not envelope.unknown:
                self._sent.append(_sent(envelope))

    def _observe(self, event: events.Event) -> None:
        if not isinstance(event, events.JobEvent):
            return
        over = events.JobSucceeded | events.JobEnded | events.JobRetrying | events.DuplicateDropped
        if isinstance(event, over):
            with self._changed:
                self._open.discard((event.job_id, event.attempt))
                if isinstance(event, Ended):
                    self._ended.append(event)
                self._changed.notify_all()

    def _declare(self) -> None:
        """A remote job adds its queue to the topology when it is made: after the fixture."""
        if self._memory is None or self._declared is self.app.spec:
            return
        self._declared = self.app.spec
        declare_plan(self._memory, compile_plan(self.app.spec, from_version(self._memory.version)))

    @contextmanager
    def _working(self) -> Iterator[None]:
        stop, broken = threading.Event(), []

        def work() -> None:
            try:
                asyncio.run(self._work(stop))
            except BaseException as error:  # handed over to the test
                broken.append(error)

        thread = threading.Thread(target=work, name="rj-worker", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if broken:
            raise broken[0]

    async def _work(self, stop: threading.Event) -> None:
        roles = [ConsumeRole(self.app, queue) for queue in self.app.spec.queues]
        for role in roles:
            await role.start()
        await asyncio.to_thread(stop.wait)
        await asyncio.gather(*(role.drain(5.0, asyncio.Event()) for role in roles))

    def _wait(self, deadline: float, timeout: float) -> None:
        step = 1.0
        while True:
            with self._changed:
                before = len(self._open)
                if self._changed.wait_for(lambda: not self._open, PAUSE):
                    return
                left = sorted(self._open)
                step = 1.0 if len(left) != before else step
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"expected every job to end within {timeout:g} s, got {len(left)} left: "
                    + ", ".join(f"{job_id} (attempt {attempt})" for job_id, attempt in left[:5])
                )
            if self._memory is not None and self._idle(self._memory):
                self._memory.advance(step)
                step = min(step * 2, ONE_DAY)

    def _idle(self, memory: MemoryBroker) -> bool:
        """Whether what is open waits for its time, and for nothing else."""
        spec = self.app.spec
        work = [names.work_queue(spec.namespace, queue) for queue in spec.queues]
        return all(memory.depth(queue) == (0, 0) for queue in work)

    def _definition(self, name: str) -> Definition | None:
        return self.app.registry.get(name)

    def _bound(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Arguments in a form in which equal calls are equal: as JSON has them, by name."""
        plain = msgspec.to_builtins((list(args), kwargs), str_keys=True)
        definition = self._definition(name)
        if definition is None or definition.function is None:
            return plain
        signature = inspect.signature(definition.function)
        bound = signature.bind_partial(*plain[0], **plain[1])
        bound.apply_defaults()
        given = bound.arguments
        injected = definition.arguments.injected if definition.arguments else ()
        return msgspec.to_builtins({k: v for k, v in given.items() if k not in injected})

    def _said(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        shown = ", ".join([*map(repr, args), *(f"{k}={v!r}" for k, v in kwargs.items())])
        wanted = f"{name}({shown})" if shown else name
        lines = [f"  {one.job}{one.args!r} {one.kwargs!r}" for one in self.sent[-10:]]
        listed = "\n".join(lines) if lines else "  nothing"
        return f"expected {wanted} to be sent, got:\n{listed}"


def _sent(envelope: Envelope) -> SentJob:
    body = msgspec.json.decode(envelope.body) if envelope.body else {}
    return SentJob(
        job=envelope.job,
        queue=envelope.queue,
        id=envelope.id,
        args=tuple(body.get("args", ())),
        kwargs=dict(body.get("kwargs", {})),
        envelope=envelope,
    )

"""``RabbitJobs``: the app. The composition root: the only place where the parts meet."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import dataclasses
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, overload

from rabbitjobs import settings as configuration
from rabbitjobs.app.hooks import Hook, register
from rabbitjobs.app.parts import Parts
from rabbitjobs.broker.url import plain_urls
from rabbitjobs.events import Bus, Event
from rabbitjobs.job.blocking import refuse_in_loop
from rabbitjobs.job.call import Call, Options
from rabbitjobs.job.decorator import I, P, R, Registers
from rabbitjobs.job.definition import AsyncJob, ConcurrencyKey, Definition, Job, check_name, define
from rabbitjobs.job.handle import JobHandle
from rabbitjobs.job.registry import Registry
from rabbitjobs.policy.rate import Rate
from rabbitjobs.policy.rules import Rule
from rabbitjobs.publisher.publisher import Publisher, Sent
from rabbitjobs.secret import Secret
from rabbitjobs.settings import BrokerFiles

if TYPE_CHECKING:
    from rabbitjobs.consumer.middleware import Chain, Middleware
    from rabbitjobs.review.desk import Desk
    from rabbitjobs.topology.model import TopologySpec
    from rabbitjobs.wire.protocol import Wire

DEFAULT_NAMESPACE = "rabbitjobs"
_apps: weakref.WeakSet[RabbitJobs] = weakref.WeakSet()


class RabbitJobs:
    """One app: its jobs, its configuration, and the door to broker, store and desk.

    ``namespace`` prefixes everything on the vhost; the topology's config wins where both name
    one and they agree, and it is an error where they differ. ``config`` is a folder or file
    (else ``RABBITJOBS_CONFIG``, else ``./config``, else none). ``url`` is the broker's (else the
    config's, else ``RABBITJOBS_URL`` or ``RABBITJOBS_URL_FILE``, else a running private node).
    ``wire`` makes the wires (else the config's ``broker: {wire: aio-pika}``, else pika).
    ``apply=True`` declares the topology at first use: for development only.

    Making one is cheap and connects to nothing. Safe to share between threads, and after a fork.
    """

    def __init__(
        self,
        namespace: str | None = None,
        *,
        config: Path | str | None = None,
        url: str | None = None,
        apply: bool = False,
        wire: Callable[[], Wire] | None = None,
    ) -> None:
        self._namespace = namespace
        self._config = Path(config) if config is not None else None
        self._url = Secret(url) if url else None
        self._apply = apply
        self._applying = threading.Lock()
        self._queues: tuple[str, ...] = ()
        self._spec: tuple[int, TopologySpec] | None = None
        self.registry = Registry()
        self.bus = Bus()
        self.chain: Chain | None = None
        self.parts = Parts(self, wire)
        self._publisher = Publisher(
            spec=lambda: self.spec,
            session=self._session,
            results=lambda: self.parts.results(),  # noqa: PLW0108  # the parts change
            unique=lambda: self.parts.unique,
            outbox=self.parts.put_outbox,
            deadline=lambda: self.settings.deadline.total_seconds(),  # noqa: PLW0108  # read at use
            app_id=namespace,
            check_on_done=self.parts.check_on_done,
            note_sent=self.parts.note_sent,
            signing=lambda: self.parts.signing,
            canceller=lambda: self.parts.canceller,
        )
        _apps.add(self)

    # --- configuration --------------------------------------------------------------------------

    @cached_property
    def settings(self) -> configuration.Settings:
        """The configuration, read at first use; raises ``ConfigError`` with every fault."""
        return configuration.load(self._config)

    @property
    def namespace(self) -> str:
        """The prefix of everything on the broker."""
        return self.spec.namespace

    @property
    def spec(self) -> TopologySpec:
        """The topology: the config's, or one that follows from the registered jobs."""
        configured = self.settings.topology
        if configured is not None:
            if self._namespace not in (None, configured.namespace):
                from rabbitjobs.app.checking import check_namespace

                # Sending into another app's namespace would fill its quarantine.
                check_namespace(configured, self._namespace)
            return configured
        size = len(self.registry) + len(self._queues)
        if self._spec is None or self._spec[0] != size:
            from rabbitjobs.topology.model import default_spec

            queues = dict.fromkeys((*self.registry.queues(), *self._queues)) or {"default": None}
            self._spec = size, default_spec(self._namespace or DEFAULT_NAMESPACE, queues)
        return self._spec[1]

    @property
    def url(self) -> str:
        """The broker's URL, with its password; raises ``BrokerError`` when none is to be found."""
        return self.parts.broker_url(self._url.reveal() if self._url else None)

    def check(self) -> list[str]:
        """Hold the code against the config: raises ``ConfigError`` with every mismatch.

        Returns warnings: queues of the config that no job here uses.
        """
        from rabbitjobs.app.checking import check

        warnings = check(self.registry, self.settings.topology or self.spec, self._namespace)
        return [*warnings, *(self.chain.gaps(self.registry) if self.chain is not None else ())]

    def override(self, *, config: Path | None = None, url: str | None = None) -> None:
        """Use another configuration or broker than the code says: for command lines and tests."""
        if config is not None:
            self._config = config
            self.__dict__.pop("settings", None)
        if url is not None:
            self._url = Secret(url)

    @property
    def overrides(self) -> tuple[Path | None, str | None]:
        """The configuration and the broker's URL that were given in code or on the command line."""
        return self._config, self._url.reveal() if self._url else None

    @contextlib.contextmanager
    def overridden(
        self,
        *,
        url: str,
        store_url: str,
        management_url: str | None = None,
        wire: Callable[[], Wire] | None = None,
    ) -> Iterator[None]:
        """Use another broker and store for a while, and then those of the code again: for tests.

        What is open is closed at both ends. Not for while other threads use the app.
        """
        before = self._url, self.settings, self.parts
        self.parts.close()
        self._url, self.parts = Secret(url), Parts(self, wire)
        self.__dict__["settings"] = dataclasses.replace(
            self.settings,
            store_url=Secret(store_url),
            no_store=False,
            management_url=Secret(management_url) if management_url else None,
            # A test's own broker has no TLS, whatever the config says of the real one.
            broker_files=BrokerFiles() if plain_urls(url)[0] else self.settings.broker_files,
        )
        try:
            yield
        finally:
            self.parts.close()
            self._url, self.__dict__["settings"], self.parts = before

    # --- jobs -----------------------------------------------------------------------------------

    @overload
    def job(
        self, name: Callable[Concatenate[I, P], Coroutine[Any, Any, R]], /
    ) -> AsyncJob[P, R]: ...

    @overload
    def job(self, name: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncJob[P, R]: ...

    @overload
    def job(self, name: Callable[Concatenate[I, P], R], /) -> Job[P, R]: ...

    @overload
    def job(self, name: Callable[P, R], /) -> Job[P, R]: ...

    @overload
    def job(
        self,
        name: str | None = None,
        *,
        queue: str = "default",
        retry: str | None = None,
        on: Sequence[Rule] = (),
        ignore_result: bool = False,
        needs_approval: bool = False,
        pool: str | None = None,
        soft_limit: timedelta | None = None,
        hard_limit: timedelta | None = None,
        rate: Rate | str | None = None,
        concurrency_key: ConcurrencyKey | None = None,
    ) -> Registers: ...

    def job(
        self,
        name: str | Callable[..., Any] | None = None,
        *,
        queue: str = "default",
        retry: str | None = None,
        on: Sequence[Rule] = (),
        ignore_result: bool = False,
        needs_approval: bool = False,
        pool: str | None = None,
        soft_limit: timedelta | None = None,
        hard_limit: timedelta | None = None,
        rate: Rate | str | None = None,
        concurrency_key: ConcurrencyKey | None = None,
    ) -> Any:
        """Register a function as a job, under ``name`` or its dotted name.

        ``queue`` is a queue of the config; ``retry`` names a retry policy other than the queue's;
        ``on`` are failure rules that come before the queue's. ``ignore_result`` keeps nothing of
        a success: no result, and no record that would drop a duplicate run.

        ``needs_approval`` sends each one to the review desk before it runs: ``desk.approve`` lets
        it, ``desk.reject`` ends it as failed. Its workers need the store of the desk.

        ``pool`` is where it runs: ``asyncio``, ``threads``, ``processes``, ``solo`` or another
        package's; else as the queue says. At ``soft_limit`` ``SoftTimeLimit`` is raised in it (a
        coroutine is cancelled), at ``hard_limit`` it is ended: a child process is killed, and where
        nothing can be killed the attempt is given up and the worker process renews itself.

        ``rate`` is how often it starts at most, in the whole fleet: ``"100/s"``, ``"600/m"``, or a
        ``Rate``. Jobs of one ``concurrency_key`` run one at a time: ``"{customer}"`` names
        arguments, a function of them returns a text, ``Concurrency`` says how many may run. Both
        need a store, but for a rate of each process.
        """

        def register(function: Callable[..., Any]) -> Job[Any, Any]:
            definition = define(
                function,
                name=None if callable(name) else name,
                queue=queue,
                retry=retry,
                rules=tuple(on),
                ignore_result=ignore_result,
                needs_approval=needs_approval,
                pool=pool,
                soft_limit=soft_limit,
                hard_limit=hard_limit,
                rate=rate,
                concurrency_key=concurrency_key,
            )
            self.registry.add(definition)
            kind: type[Job[Any, Any]] = AsyncJob if definition.is_async else Job
            return kind(definition, self._publisher)

        return register(name) if callable(name) else register

    # --- around jobs, and beside them -----------------------------------------------------------

    def middleware(self, function: Callable[..., Any]) -> Middleware:
        """Put ``function(context, call_next)`` around every job, in every pool; a decorator.

        ``call_next()`` runs what is inside: the next middleware, and at last the job. What it
        returns and raises is the job's. A ``def`` is around jobs that are ``def``, and runs where
        they do; an ``async def`` around those that are ``async def``. For both, give it the other
        one with ``@name.twin``. The first one registered is the outermost.

        For results, retries and acks there is none: they are the worker's own.
        """
        from rabbitjobs.consumer.middleware import Chain, Middleware

        if self.chain is None:
            self.chain = Chain(self.registry.put_around)
        found = Middleware(function, self.chain.changed)
        self.chain.add(found)
        return found

    def on(self, *kinds: type[Event]) -> Callable[[Hook], Hook]:
        """Call the decorated function with each event of these kinds (all, if none is named).

        A hook observes: it cannot change what becomes of a job, and its error is printed and
        nothing else. It is called in the process in which the event happens, by the loop that
        works there, so it must be quick and must not block.
        """
        return register(self.bus, kinds)

    def remote(self, name: str, *, queue: str) -> Job[..., Any]:
        """A job whose code is not here: its arguments are checked by the worker only."""
        check_name(name)
        known = self.registry.plain(name)
        if queue not in self._queues:
            self._queues = (*self._queues, queue)
        definition = known or Definition(name=name, queue=queue)
        return Job(definition, self._publisher, Options(queue=queue))

    def handle(self, job_id: str) -> JobHandle[Any]:
        """The handle of a job that was sent anywhere; its status may be ``UNKNOWN``."""
        return JobHandle(job_id, self.parts.results, canceller=lambda: self.parts.canceller)

    def cancel(
        self,
        *job_ids: str,
        tag: str | None = None,
        who: str | None = None,
        why: str = "",
        grace: timedelta | None = None,
    ) -> None:
        """Have jobs end: these, or all that were sent with ``tag`` until now.

        Returns once that is stored, and is done by workers. From ``control.book.FRESH_SECONDS`` (5)
        later no worker that reaches the store starts one of them, whenever it comes: after a
        restart, or off a delay a year from now. A running one is told (``Context.cancelled``)
        within that time, and ended by force after ``grace`` (10 s) where its pool can. Each ends
        in state ``cancelled``, with ``who`` (you on this machine) and ``why``; one that succeeds
        all the same has succeeded, and one that has ended stays as it is.

        Raises ``CancelRefused`` for ids and tag at once, ``StoreError`` without a store, and
        ``StoreUnavailable``: then nothing is cancelled. Inside an event loop use ``acancel``.
        """
        refuse_in_loop("cancel", "acancel")
        self.parts.canceller.cancel(job_ids, tag=tag, who=who, why=why, grace=grace)

    async def acancel(
        self,
        *job_ids: str,
        tag: str | None = None,
        who: str | None = None,
        why: str = "",
        grace: timedelta | None = None,
    ) -> None:
        """The a-twin of ``cancel``."""
        canceller = self.parts.canceller
        await asyncio.to_thread(
            lambda: canceller.cancel(job_ids, tag=tag, who=who, why=why, grace=grace)
        )

    def send_many(self, calls: Iterable[Call]) -> list[Sent]:
        """Send many calls, pipelined: one outcome for each, in order; nothing is raised for one."""
        return self._publisher.send_many(calls)

    async def asend_many(self, calls: Iterable[Call]) -> list[Sent]:
        """The a-twin of ``send_many``."""
        return await self._publisher.asend_many(calls)

    @property
    def desk(self) -> Desk:
        """The review desk; raises ``StoreError`` without a store."""
        return self.parts.desk

    @property
    def publisher(self) -> Publisher:
        """The publisher, for the parts of a worker."""
        return self._publisher

    def _session(self) -> Any:
        if self._apply:
            with self._applying:
                if self._apply:
                    self.apply()
                self._apply = False
        return self.parts.session()

    def apply(self) -> None:
        """Declare the topology on the broker; idempotent. ``rabbitjobs topology apply`` does it."""
        self.parts.apply()

    def close(self, *, timeout: float = 30.0) -> None:
        """Close connections and the store; the app can be used again and will reconnect.

        A store that hangs is waited for ``timeout`` seconds at most; what it had not committed
        then may be lost, and was never acked.
        """
        self.parts.close(timeout)


def _after_fork() -> None:
    for app in _apps:
        app.parts.forget()


def _at_exit() -> None:
    for app in tuple(_apps):
        app.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)

"""One worker process: its roles, its signals, its orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import tenacity

from rabbitjobs import events
from rabbitjobs.app.application import RabbitJobs
from rabbitjobs.app.control_role import ControlRole
from rabbitjobs.app.roles import Role, check_queue, worker_name
from rabbitjobs.clock import now
from rabbitjobs.consumer.drained import total
from rabbitjobs.errors import ConnectionLost, StoreUnavailable
from rabbitjobs.monitor.report import report_events
from rabbitjobs.monitor.tail import Broadcaster
from rabbitjobs.process.signals import Signals, leave
from rabbitjobs.process.state import report_state
from rabbitjobs.store.sqlite_file import is_ready, plain_path

if TYPE_CHECKING:
    from rabbitjobs.process.address import Address
    from rabbitjobs.process.health import Health

log = structlog.get_logger("rabbitjobs.worker")
# For a store that hangs: what it has not committed by then is not acked either.
SHARP_CLOSE_SECONDS = 1.0


def start(
    app: RabbitJobs,
    make_roles: Callable[[], Sequence[Role]],
    *,
    grace: timedelta | None = None,
    queue: str | None = None,
    health: Address | None = None,
    health_file: Path | None = None,
) -> int:
    """Check code against config and live topology, then work; returns the exit code.

    ``queue`` narrows the check of the topology to what the worker of one queue needs. ``health``
    and ``health_file`` are where the process says how it is.
    """
    for warning in app.check():
        log.warning(warning)
    if queue is not None:
        check_queue(app, queue)
    report_events(app.bus, every=logging.getLogger().isEnabledFor(logging.DEBUG))
    supervisor = report_state(app.bus)
    telling = _health(app, health, health_file)
    with telling.elsewhere() if telling is not None else contextlib.nullcontext():
        _until_reached(lambda: app.parts.verify(queue, consuming=True))
        _check_store(app)
        roles = make_roles()
    grace = app.settings.grace if grace is None else grace
    Broadcaster(app.bus, app.parts.session(), namespace=app.namespace, worker=worker_name())
    return Worker(
        app,
        roles,
        grace=grace.total_seconds(),
        supervisor=supervisor,
        control=ControlRole(app, roles),
        health=telling,
    ).run()


def _health(app: RabbitJobs, address: Address | None, file: Path | None) -> Health | None:
    if address is None and file is None:
        return None
    from rabbitjobs.process.health import Health, Subscriptions

    subscriptions = Subscriptions(app.bus)
    health = Health(subscriptions, address, file)
    subscriptions.changed = health.changed
    return health


def _until_reached(verify: Callable[[], None]) -> None:
    """A broker that is away at the start is waited for; a topology that differs is not."""
    retrying = tenacity.Retrying(
        wait=tenacity.wait_random_exponential(multiplier=0.5, max=15),
        retry=tenacity.retry_if_exception_type(ConnectionLost),
        before_sleep=lambda state: log.error(
            "unhealthy: the broker does not let us in, or cannot be reached",
            reason=str(state.outcome.exception()) if state.outcome else "",
        ),
    )
    retrying(verify)


def _check_store(app: RabbitJobs) -> None:
    url = app.parts.store_url
    if url is None:
        log.warning("no store: results are not kept, and duplicates are not dropped")
        return
    path = plain_path(url)
    if path is not None and is_ready(path):
        _tell_of_sqlite(url)
        return
    store = app.parts.store
    assert store is not None
    if store.one_machine:
        _tell_of_sqlite(store.where)
    try:
        store.check()
    except StoreUnavailable as error:
        log.error("unhealthy: the store cannot be used; endings wait for it", reason=str(error))


def _tell_of_sqlite(where: str) -> None:
    log.info("the store is SQLite: it serves the processes of this machine only", store=where)


class Worker:
    """Runs roles until SIGTERM or SIGINT; a second signal ends the grace at once."""

    def __init__(
        self,
        app: RabbitJobs,
        roles: Sequence[Role],
        *,
        grace: float,
        supervisor: int | None = None,
        health: Health | None = None,
        control: Role | None = None,
    ) -> None:
        self._app = app
        self._roles = roles
        self._grace = grace
        self._supervisor = supervisor
        self._health = health
        self._control = control

    def run(self) -> int:
        """Work until told to stop; the exit code: 0 when everything was finished or handed back."""
        signals = Signals(grace=self._grace)
        try:
            asyncio.run(self._main(signals))
        finally:
            self._app.close()
            signals.remove()
        return 0

    async def _main(self, signals: Signals) -> None:
        stop, hurry = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        signals.install(
            lambda: loop.call_soon_threadsafe(stop.set),
            lambda: loop.call_soon_threadsafe(hurry.set),
        )
        if self._supervisor is not None:
            # The write end of a pipe becomes readable when its reader is gone: a supervisor that
            # was killed must not leave workers behind, a second one would double them.
            loop.add_reader(self._supervisor, self._orphaned, signals)
        self._app.bus.listen(lambda event: self._worn_out(event, signals), each=False)
        if self._health is not None:
            await self._health.start()
        try:
            await self._work(stop, hurry)
        finally:
            if self._health is not None:
                await self._health.stop()

    async def _work(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        name = worker_name()
        for role in self._roles:
            await role.start()
        if self._control is not None:
            await self._control.start()
        self._app.bus.emit(
            events.WorkerStarted(
                at=now(), worker=name, roles=", ".join(role.name for role in self._roles)
            )
        )
        await stop.wait()
        self._app.bus.emit(events.WorkerStopping(at=now(), worker=name, grace=self._grace))
        drained = total(
            await asyncio.gather(*(role.drain(self._grace, hurry) for role in self._roles))
        )
        if self._control is not None:  # last: somebody may ask what the others still do
            await self._control.drain(self._grace, hurry)
        self._app.bus.emit(
            events.WorkerStopped(
                at=now(),
                worker=name,
                finished=drained.finished,
                handed_back=drained.handed_back,
                abandoned=drained.abandoned,
            )
        )
        if drained.abandoned or hurry.is_set():
            # They may run on threads that nobody can stop, and both the event loop and the
            # interpreter would wait for those. They are not acked: the broker delivers them again.
            if self._health is not None:
                await self._health.stop()
            self._app.close(timeout=SHARP_CLOSE_SECONDS)
            leave(0)

    def _worn_out(self, event: events.Event, signals: Signals) -> None:
        if isinstance(event, events.WorkerToldToStop):
            log.warning("remote control asked this process to stop", who=event.who)
            signals.stop()
        if isinstance(event, events.WorkerWornOut):
            log.error("the process is renewed: it stops in order", reason=event.reason)
            signals.stop()

    def _orphaned(self, signals: Signals) -> None:
        assert self._supervisor is not None
        asyncio.get_running_loop().remove_reader(self._supervisor)
        log.error("the supervisor is gone: stopping")
        signals.stop()

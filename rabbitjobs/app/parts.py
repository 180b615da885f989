"""The parts of one app, made at first use and held for this process: a piece of the root."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rabbitjobs.broker.url import parse_urls
from rabbitjobs.clock import now
from rabbitjobs.errors import BrokerError, RabbitJobsError, StoreError
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.settings import AIO_PIKA
from rabbitjobs.wire.protocol import Wire

if TYPE_CHECKING:
    from rabbitjobs.app.application import RabbitJobs
    from rabbitjobs.backend.late import LateRecorder
    from rabbitjobs.backend.sql import SqlBackend
    from rabbitjobs.broker.management import Management
    from rabbitjobs.message.signing import Signing, SigningOptions
    from rabbitjobs.publisher.unique import UniqueKeys
    from rabbitjobs.review.desk import Desk
    from rabbitjobs.store.engine import Store
    from rabbitjobs.topology.plan import Plan
    from rabbitjobs.wire.session import Session

log = logging.getLogger("rabbitjobs")
# A unique key is let go after this long even if its job never ends: a day past any sane retry.
UNIQUE_SECONDS = 30 * 86400.0


def _wire_of(name: str) -> Callable[[], Wire]:
    """What makes the wires that the config names."""
    if name == AIO_PIKA:
        from rabbitjobs.wire.aio_pika import AioPikaWire

        return AioPikaWire
    from rabbitjobs.wire.pika import PikaWire

    return PikaWire


class Parts:
    """Session, store, backend, desk: each made once per process, under one lock."""

    def __init__(self, app: RabbitJobs, make_wire: Callable[[], Wire] | None) -> None:
        self._app = app
        self._make_wire = make_wire
        self._orphans: tuple[object, ...] = ()
        self._session: Session | None = None
        self._store: Store | None = None
        self._signing: tuple[SigningOptions, Signing] | None = None
        self.forget()

    def forget(self) -> None:
        """Start over, closing nothing: after a fork the parent's connections are the parent's."""
        # Held, so that no finalizer of the child touches what it shares with the parent.
        self._orphans = (*self._orphans, self._session, self._store)
        self._lock = threading.RLock()
        self._session = None
        self._store = None
        self._backend: SqlBackend | None = None
        self._told = False

    # --- broker ---------------------------------------------------------------------------------

    def broker_url(self, given: str | None) -> str:
        """The URL in the order that ``RabbitJobs`` documents."""
        settings = self._app.settings
        configured = given or (settings.broker_url.reveal() if settings.broker_url else None)
        if configured:
            return settings.broker_files.into(configured)
        from rabbitjobs.broker import running_url

        settings.broker_files.refuse_private_node()
        private = running_url()
        if private is None:
            raise BrokerError(
                "expected a broker URL, got none; set RABBITJOBS_URL, or start a private node "
                "with `rabbitjobs broker start` or `rabbitjobs dev`"
            )
        if not self._told:
            self._told = True
            log.warning("no broker URL is set: using the running private RabbitMQ node")
        return private

    def session(self) -> Session:
        """The connections of this process, opened at first use."""
        session = self._session
        if session is not None:
            return session
        with self._lock:
            if self._session is None:
                # Here, because a service that is imported to be looked at pays for no client.
                from rabbitjobs.wire.session import Session

                addresses = parse_urls(self._app.url)
                make_wire = self._make_wire or _wire_of(self._app.settings.wire)
                self._session = Session(make_wire, addresses, name=self._app.namespace)
            return self._session

    def management(self) -> Management:
        """The broker's management API: the configured, the private node's, or the usual port."""
        from rabbitjobs.broker.management import management_of
        from rabbitjobs.broker.state import running_management_url

        configured = self._app.settings.management_url
        url = self._app.url
        where = configured.reveal() if configured else running_management_url(url)
        return management_of(parse_urls(url)[0], where)

    def plan(self) -> Plan:
        """The app's topology, compiled for the version of the connected broker."""
        from rabbitjobs.topology.amqp import connect
        from rabbitjobs.topology.plan import compile_plan

        with connect(self._app.url) as amqp:
            capabilities = amqp.capabilities
        return compile_plan(self._app.spec, capabilities)

    def apply(self) -> None:
        """Declare the topology."""
        from rabbitjobs.topology.apply import apply

        with self.management() as management:
            apply(self.plan(), amqp_url=self._app.url, management=management)

    def verify(self, queue: str | None = None, *, consuming: bool = False) -> None:
        """Hold the live topology against the config's; raises ``TopologyMismatch``.

        With ``consuming`` the session connects meanwhile, once a broker has let us in.
        """
        from rabbitjobs.topology.amqp import connect
        from rabbitjobs.topology.apply import verify_over
        from rabbitjobs.topology.plan import compile_plan

        with self.management() as management, connect(self._app.url) as amqp:
            if consuming:
                self.session().consume()
            plan = compile_plan(self._app.spec, amqp.capabilities)
            known = self._app.registry.hard_limits() if consuming else {}
            limits = {name: known[name] for name in known if queue in (None, name)}
            verify_over(amqp, plan, management=management, queue=queue, limits=limits)

    @property
    def signing(self) -> Signing | None:
        """What signs and checks jobs; ``None`` unless ``signing:`` is configured."""
        options = self._app.settings.signing
        if options is None:
            return None
        known = self._signing
        if known is None or known[0] is not options:
            from rabbitjobs.message.signing import Signing

            known = self._signing = options, Signing(options, namespace=self._app.namespace)
        return known[1]

    # --- store ----------------------------------------------------------------------------------

    @property
    def store_url(self) -> str | None:
        """Where the store is; ``None`` if the config says ``store: {url: none}``."""
        if self._app.settings.no_store:
            return None
        configured = self._app.settings.store_url
        if configured:
            return configured.reveal()
        from rabbitjobs.store.sqlite_file import default_url

        return default_url(self._app.namespace)

    @property
    def store(self) -> Store | None:
        """The store; ``None`` if the config says ``store: {url: none}``."""
        url = self.store_url
        if url is None:
            return None
        with self._lock:
            if self._store is None:
                from rabbitjobs.store.engine import Store

                self._store = Store(url, namespace=self._app.namespace)
            return self._store

    @property
    def backend(self) -> SqlBackend | None:
        """Recorder and results on the store."""
        store = self.store
        if store is None:
            return None
        with self._lock:
            if self._backend is None:
                from rabbitjobs.backend.sql import SqlBackend

                self._backend = SqlBackend(store)
            return self._backend

    def recorder(self) -> LateRecorder | None:
        """The backend for a consumer: made, with what it imports, when a job leaves a trace."""
        if self.store_url is None:
            return None
        from rabbitjobs.backend.late import LateRecorder

        def make() -> SqlBackend:
            backend = self.backend
            assert backend is not None
            return backend

        return LateRecorder(make)

    def results(self) -> SqlBackend | None:
        """Where handles read; a call, because the store may be none."""
        return self.backend

    @property
    def unique(self) -> UniqueKeys | None:
        """Unique keys on the store."""
        backend = self.backend
        return StoreKeys(backend) if backend is not None else None

    def note_sent(self, envelope: Envelope) -> None:
        """Record a confirmed send, behind the sender's back, if ``results: {queued: true}``."""
        if not self._app.settings.note_queued or self.backend is None:
            return
        self.backend.mark_queued(
            envelope.id,
            job=envelope.job,
            queue=envelope.queue,
            enqueued=envelope.enqueued,
            due=envelope.due,
        )

    def check_on_done(self, url: str) -> None:
        """Refuse a completion webhook that the notifier would refuse, before anything is sent."""
        from rabbitjobs.notify.on_done import check_url
        from rabbitjobs.notify.options import NotifyOptions

        check_url(url, (self._app.settings.notify or NotifyOptions()).on_done)

    def put_outbox(self, tx: Any, envelope: Envelope, undone: Callable[[], None]) -> None:
        """Write a send into the caller's transaction; a relay publishes it after the commit.

        ``undone`` is called if the transaction rolls back.
        """
        store = self.store
        if store is None:
            raise StoreError("expected a store for tx=, got none; set store.url")
        from rabbitjobs.store import outbox

        outbox.put(tx, store.namespace, envelope, undone=undone)

    @property
    def desk(self) -> Desk:
        """The review desk on the store."""
        store = self.store
        if store is None:
            raise StoreError("expected a store for the desk, got none; set store.url")
        from rabbitjobs.app.desk import make_desk

        return make_desk(self._app, store)

    def close(self, timeout: float = 30.0) -> None:
        """Close what was opened; a part that is asked for again is made anew."""
        with self._lock:
            session, self._session = self._session, None
            store, self._store, self._backend = self._store, None, None
        if session is not None:
            session.close()
        if store is not None:
            try:
                store.close(timeout)
            except RabbitJobsError as error:  # closing is best effort; what mattered was awaited
                log.warning("closing the store failed: %s", error)


class StoreKeys:
    """``UniqueKeys`` on the SQL backend."""

    def __init__(self, backend: SqlBackend) -> None:
        self._backend = backend

    def claim(self, envelope: Envelope, seconds: float) -> str | None:
        """See ``UniqueKeys.claim``."""
        return self._backend.claim_unique(str(envelope.unique), envelope.id, now() + seconds)

    def keep(self, envelope: Envelope) -> None:
        """See ``UniqueKeys.keep``."""
        until = max(envelope.enqueued, envelope.due or 0.0) + UNIQUE_SECONDS
        self._backend.keep_unique(str(envelope.unique), envelope.id, until)

    def release(self, envelope: Envelope) -> None:
        """See ``UniqueKeys.release``."""
        self._backend.free_unique(str(envelope.unique), envelope.id)

"""What the pages and the API share: the app, its doors, its desk, and what runs beside requests."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from rabbitjobs import clock
from rabbitjobs.errors import StoreError
from rabbitjobs.review.options import DEFAULT, DeskOptions
from rabbitjobs.review.web_options import OPEN, WebOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.web.doors import Doors
from rabbitjobs.web.running import Runner
from rabbitjobs.web.visitor import Visitor

if TYPE_CHECKING:
    from rabbitjobs.app.application import RabbitJobs
    from rabbitjobs.review.desk import Desk


class Service:
    """One app's desk as it is served. ``hosts`` are further names that it goes by."""

    def __init__(
        self,
        app: RabbitJobs,
        *,
        hosts: Collection[str] = (),
        now: Callable[[], float] = clock.now,
    ) -> None:
        self._app = app
        options: WebOptions = app.settings.web or OPEN
        people: DeskOptions = app.settings.review or DEFAULT
        self.people = people
        self.hosts = frozenset((*options.hosts, *hosts))
        self.doors = Doors(self.store, options, people, now, namespace=app.namespace)
        self.runner = Runner()

    def store(self) -> Store:
        """The store of the app; raises ``StoreError`` without one."""
        store = self._app.parts.store
        if store is None:
            raise StoreError("expected a store for the desk, got none; set store.url")
        return store

    def desk_of(self, visitor: Visitor) -> Desk:
        """The desk with the rights of a visitor."""
        return self.doors.desk(self._app.desk, visitor)

    def queues(self) -> tuple[str, ...]:
        """The queues that a job may be sent to."""
        return tuple(self._app.spec.queues)

    @property
    def title(self) -> str:
        """The app's namespace."""
        return self._app.namespace

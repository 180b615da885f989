"""A visit: one request to a page, with the desk and the person as the guard has found them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import Person
from rabbitjobs.web.pages.counts import Counts
from rabbitjobs.web.pages.pulse import Pulse
from rabbitjobs.web.pages.refusals import refused
from rabbitjobs.web.running import Runner

DeskOf = Callable[[Request], Desk]
Handler = Callable[["Visit"], Response]
MOST_FIELDS = 12_000
"""Of a form: ten thousand cases may be chosen on one page, and some fields stand beside them."""


class Site(NamedTuple):
    """What all pages share: how a request gets its desk, and the queues that jobs may go to."""

    desk_of: DeskOf
    queues: Callable[[], Sequence[str]]
    runner: Runner
    pulse: Pulse
    counts: Counts


class Visit(NamedTuple):
    """One request. ``form`` holds what was posted, as text; it is empty for a page that is read."""

    request: Request
    desk: Desk
    queues: Sequence[str]
    runner: Runner
    counts: Counts
    form: FormData

    @property
    def person(self) -> Person:
        """Who looks or acts."""
        person: Person = self.request.state.person
        return person

    @property
    def who(self) -> str:
        """His name."""
        return self.person.name

    def query(self, name: str) -> str:
        """One field of the query; empty if it is not there."""
        return self.request.query_params.get(name, "").strip()

    def posted(self, name: str) -> str:
        """One field of the form, as browsers send text: with the line ends of this world."""
        value = self.form.get(name, "")
        return value.replace("\r\n", "\n") if isinstance(value, str) else ""

    def path(self, name: str) -> str:
        """One part of the path."""
        return str(self.request.path_params[name])

    def link(self, path: str) -> str:
        """A path of this site, wherever it is mounted. It never carries a host."""
        return str(self.request.scope.get("root_path", "")) + path

    def go(self, path: str) -> Response:
        """Send the browser to a page of this site, after a form."""
        return RedirectResponse(self.link(path), status_code=303)


def reading(site: Site, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a page that is read: the desk blocks, so it runs on a thread."""

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(_answer, site, handler, request, FormData())

    return endpoint


def posting(site: Site, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint of a form; the guard has checked its token before."""

    async def endpoint(request: Request) -> Response:
        async with request.form(max_files=0, max_fields=MOST_FIELDS) as form:
            return await run_in_threadpool(_answer, site, handler, request, form)

    return endpoint


def _answer(site: Site, handler: Handler, request: Request, form: FormData) -> Response:
    visit = partial(
        Visit, request, queues=site.queues(), runner=site.runner, counts=site.counts, form=form
    )
    try:
        desk = site.desk_of(request)
        if request.method == "GET":
            # Before the page is read: what changes from here on, the page hears of.
            request.state.mark = desk.pulse()
        return handler(visit(desk=desk))
    except RabbitJobsError as error:
        return refused(request, error)

"""The desk as an ASGI app: pages, login and HTTP API behind one guard."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response

from rabbitjobs import clock
from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.web import login
from rabbitjobs.web.api.routing import routes as api_routes
from rabbitjobs.web.guarding import Guard
from rabbitjobs.web.pages import routes as page_routes
from rabbitjobs.web.service import Service
from rabbitjobs.web.showing import show_error

if TYPE_CHECKING:
    from rabbitjobs.app.application import RabbitJobs


def web_app(
    app: RabbitJobs,
    *,
    hosts: Collection[str] = (),
    now: Callable[[], float] = clock.now,
) -> Starlette:
    """The desk of ``app`` for any ASGI server, or to be mounted into another ASGI app.

    ``hosts`` are names that browsers reach it by, besides those in ``web.hosts`` of the config and
    those of this machine; a request for another is refused. Without people in ``web.people`` it
    answers this machine only, whatever it is bound to. ``now`` gives unix seconds.

    Mounted under a prefix it needs no lifespan: what it opens is the app's, which ``app.close()``
    closes.
    """
    service = Service(app, hosts=hosts, now=now)
    pages = page_routes(
        lambda request: request.state.desk, queues=service.queues, runner=service.runner
    )
    made = Starlette(
        routes=[*login.routes(), *api_routes(), *pages],
        middleware=[Middleware(Guard, service=service)],
        exception_handlers={HTTPException: _shown, RabbitJobsError: _shown},
    )
    # Such a redirect holds the host's name, and none of ours does.
    made.router.redirect_slashes = False
    return made


async def _shown(request: Request, error: Exception) -> Response:
    return show_error(request, error)

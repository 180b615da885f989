"""Which page stands where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from rabbitjobs.web.pages import acting, bulk, case, editing, listing, live, office
from rabbitjobs.web.pages.counts import Counts
from rabbitjobs.web.pages.pulse import Pulse
from rabbitjobs.web.pages.visit import DeskOf, Handler, Site, posting, reading
from rabbitjobs.web.running import Runner

_STATIC = Path(__file__).parents[1] / "static"
_READ: tuple[tuple[str, Handler], ...] = (
    ("/cases", listing.cases),
    ("/cases/{case_id}", case.case),
    ("/cases/{case_id}/edit", editing.edit),
    ("/cases/{case_id}/payload", case.payload),
    ("/groups", listing.groups),
    ("/export/{form}", listing.export),
    ("/bulk", bulk.bulks),
    ("/bulk/new", bulk.new),
    ("/bulk/{bulk_id}", bulk.bulk),
    ("/bulk/{bulk_id}/dry-run", bulk.dry_run),
    ("/audit", office.audit),
    ("/people", office.people),
    ("/help", office.guide),
)
_POSTED: tuple[tuple[str, Handler], ...] = (
    ("/cases/{case_id}/edit", editing.send),
    ("/cases/{case_id}/heartbeat", acting.heartbeat),
    ("/cases/{case_id}/{action}", acting.act),
    ("/bulk/new", bulk.choose),
    ("/bulk", bulk.freeze),
    ("/bulk/{bulk_id}/{action}", bulk.turn),
)


def routes(
    desk_of: DeskOf,
    *,
    queues: Callable[[], Sequence[str]] = lambda: (),
    runner: Runner | None = None,
) -> list[BaseRoute]:
    """The pages of the desk, to be mounted behind a guard.

    ``desk_of`` gives the desk of a request. The guard has set ``request.state.person`` (who looks,
    a ``review.options.Person``) and ``request.state.csrf`` (what every form posts back as the field
    ``csrf``), and has refused everything else that is posted. Only ``/static`` may be seen without
    a person. ``queues`` names the queues that a job may be sent to instead of its own;
    ``runner`` is shared with whoever else runs bulk actions in this process.
    """
    site = Site(desk_of, queues, runner or Runner(), Pulse(), Counts())
    return [
        Route("/", _home, name="home"),
        Mount("/static", StaticFiles(directory=_STATIC), name="static"),
        Route("/live", partial(live.changes, site), name="live"),
        *(Route(path, reading(site, handler), methods=["GET"]) for path, handler in _READ),
        *(Route(path, posting(site, handler), methods=["POST"]) for path, handler in _POSTED),
    ]


async def _home(request: Request) -> Response:
    return RedirectResponse(str(request.scope.get("root_path", "")) + "/cases", 303)

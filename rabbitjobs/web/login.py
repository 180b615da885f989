"""Logging in and out: the only form that somebody may post who is nobody yet."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from rabbitjobs.web.doors import Refusal
from rabbitjobs.web.faces import LoginForm, login_page
from rabbitjobs.web.service import Service

# A path of this site: one slash, then no second one, in whatever way browsers may write it.
_HERE = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
_NEXT_MOST = 2000


def routes() -> list[BaseRoute]:
    """``/login`` and ``/logout``; the guard lets nothing but these pass without a person."""
    return [
        Route("/login", _look, methods=["GET"], name="login"),
        Route("/login", _log_in, methods=["POST"]),
        Route("/logout", _log_out, methods=["POST"], name="logout"),
    ]


def safe_next(text: str, root: str) -> str:
    """Where to go after the login: ``text`` if it is a path of this site, else its first page."""
    home = f"{root}/"
    if len(text) > _NEXT_MOST or not _HERE.fullmatch(text):
        return home
    return text if text.startswith(home) else home


async def _look(request: Request) -> Response:
    after = safe_next(request.query_params.get("next", ""), _root(request))
    if request.state.person is not None:
        return RedirectResponse(after, 303)
    return _form(request, after)


async def _log_in(request: Request) -> Response:
    async with request.form() as form:
        given = {name: str(form.get(name, "")) for name in ("name", "password", "next")}
    after = safe_next(given["next"], _root(request))
    doors, arrival = _service(request).doors, request.state.arrival
    if not doors.options.people:
        return RedirectResponse(after, 303)
    cookie = await doors.log_in(given["name"], given["password"], arrival)
    if isinstance(cookie, Refusal):
        response = _form(request, after, name=given["name"], refusal=cookie)
        if cookie.wait:
            response.headers["Retry-After"] = f"{cookie.wait + 1:.0f}"
        return response
    # What the browser came with is worth nothing from now on, be it his or slipped in by others.
    await doors.log_out(request.state.visitor)
    response = RedirectResponse(after, 303)
    jar, here = doors.jar, arrival.loopback
    response.headers.append(
        "Set-Cookie", jar.written(jar.session(loopback=here), cookie, loopback=here)
    )
    response.headers.append("Set-Cookie", jar.written(jar.visit(loopback=here), "", loopback=here))
    return response


async def _log_out(request: Request) -> Response:
    doors, arrival = _service(request).doors, request.state.arrival
    await doors.log_out(request.state.visitor)
    response = RedirectResponse(f"{_root(request)}/login", 303)
    jar, here = doors.jar, arrival.loopback
    response.headers.append(
        "Set-Cookie", jar.written(jar.session(loopback=here), "", loopback=here)
    )
    return response


def _form(
    request: Request, after: str, *, name: str = "", refusal: Refusal | None = None
) -> Response:
    form = LoginForm(
        action=f"{_root(request)}/login",
        csrf=request.state.csrf,
        next=after,
        name=name,
        fault=refusal.text if refusal else "",
    )
    return login_page(request, form, refusal.status if refusal else 200)


def _service(request: Request) -> Service:
    service: Service = request.state.service
    return service


def _root(request: Request) -> str:
    return str(request.scope.get("root_path", ""))

"""The guard: everything that comes in passes here first, and everything that goes out.

Hosts, who it is, how much is sent, whether a form is one of ours; on the way out the headers that
tell a browser to be careful.
"""

from __future__ import annotations

import logging
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.web.arrival import Arrival, arrive, came_from_us
from rabbitjobs.web.reading import (
    PERSON_BYTES,
    STRANGER_BYTES,
    again,
    field,
    is_form,
    is_json,
    read_body,
)
from rabbitjobs.web.service import Service
from rabbitjobs.web.showing import show_error
from rabbitjobs.web.visitor import Visitor

log = logging.getLogger("rabbitjobs.web")
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Stands before the pages and the API. It sets on ``request.state``:

    ``person`` (who it is), ``csrf`` (what forms bring back), ``desk`` (his desk), ``visitor``,
    ``arrival``, ``service`` and ``api`` (whether a program asks).
    """

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = {"service": self._service, "api": is_api(scope), "person": None, "csrf": ""}
        scope = {**scope, "state": {**(scope.get("state") or {}), **known}}
        answer = _Answer(send, keeps=_is_static(scope))
        try:
            await self._pass(scope, receive, answer)
        except (HTTPException, RabbitJobsError) as error:
            await self._show(scope, receive, answer, error)
        except Exception:  # the edge of the process: what goes wrong is logged, and never shown
            log.exception("a request failed: %s %s", scope["method"], _path(scope))
            if not answer.begun:
                await self._show(scope, receive, answer, HTTPException(500, "It is in the log."))

    async def _pass(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        state, headers = scope["state"], Headers(scope=scope)
        service, api = self._service, bool(state["api"])
        arrival = arrive(scope, hosts=service.hosts, proxies=service.doors.options.proxies)
        state["arrival"] = arrival
        scope["scheme"] = "https" if arrival.secure else "http"
        if _is_static(scope):
            await self._app(scope, receive, answer)
            return
        visitor = await service.doors.who(headers, arrival, api=api)
        if not visitor.cookie and visitor.how in ("nobody", "local") and not api:
            visitor = service.doors.greeted(visitor)
            jar = service.doors.jar
            name = jar.visit(loopback=arrival.loopback)
            answer.cookie = jar.written(name, visitor.cookie, loopback=arrival.loopback)
        state.update(visitor=visitor, person=visitor.person, csrf=visitor.csrf)
        most = PERSON_BYTES if visitor.person else STRANGER_BYTES
        body = await read_body(headers, receive, most=most)
        if scope["method"] not in SAFE_METHODS:
            _check_post(headers, arrival, visitor, body, api=api)
        turned_away = _turned_away(scope, visitor, api=api)
        if turned_away is not None:
            await turned_away(scope, receive, answer)
            return
        if visitor.person is not None:
            state["desk"] = service.desk_of(visitor)
        await self._app(scope, again(body, receive), answer)

    async def _show(
        self, scope: Scope, receive: Receive, answer: _Answer, error: Exception
    ) -> None:
        if answer.begun:
            raise error
        await show_error(Request(scope), error)(scope, receive, answer)


class _Answer:
    """The way out: every response gets our headers."""

    def __init__(self, send: Send, *, keeps: bool) -> None:
        self._send = send
        self._keeps = keeps
        self.begun = False
        self.cookie = ""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            if not self._keeps or message["status"] >= 400:
                headers["Cache-Control"] = "no-store"
            if self.cookie:
                headers.append("Set-Cookie", self.cookie)
        await self._send(message)


def is_api(scope: Scope) -> bool:
    """Whether a program asks, not a browser."""
    path = _path(scope)
    return path == "/api" or path.startswith("/api/")


def _is_static(scope: Scope) -> bool:
    """Whether it is a file that is the same for everybody."""
    return _path(scope).startswith("/static/")


def _path(scope: Scope) -> str:
    """The path as our routes see it, wherever we are mounted."""
    root = str(scope.get("root_path", ""))
    path = str(scope["path"])
    return path[len(root) :] if root and f"{path}/".startswith(f"{root}/") else path


def _check_post(
    headers: Headers, arrival: Arrival, visitor: Visitor, body: bytes, *, api: bool
) -> None:
    """Raise ``HTTPException`` for anything that another site could have made a browser send."""
    if visitor.how == "token":
        return
    if not came_from_us(headers, arrival):
        raise HTTPException(403, "expected a request from one of our own pages, got another site's")
    if api:
        _check_program(headers, visitor)
        return
    if not is_form(headers):
        raise HTTPException(415, "expected a form (application/x-www-form-urlencoded)")
    if not visitor.brings(field(body, "csrf")):
        raise HTTPException(403, "expected the form of a page of yours; load it again and repeat")


def _check_program(headers: Headers, visitor: Visitor) -> None:
    if visitor.how == "session" and not visitor.brings(headers.get("x-csrf-token", "")):
        raise HTTPException(403, "expected a token, or the header X-CSRF-Token beside a session")
    if visitor.how == "local" and not is_json(headers):
        raise HTTPException(415, "expected application/json, which no other site can send")


def _turned_away(scope: Scope, visitor: Visitor, *, api: bool) -> Response | None:
    """Where somebody goes who has to log in first."""
    path = _path(scope)
    if visitor.person is not None or path == "/login":
        return None
    if api:
        if path == "/api/openapi.json":
            return None
        headers = {"WWW-Authenticate": "Bearer"}
        raise HTTPException(401, "expected a token in the Authorization header, got none", headers)
    root = str(scope.get("root_path", ""))
    if scope["method"] not in SAFE_METHODS or path == "/live":
        raise HTTPException(401, "expected somebody who is logged in; log in again")
    query = scope.get("query_string", b"").decode("latin-1")
    there = f"{root}{path}" + (f"?{query}" if query else "")
    return RedirectResponse(f"{root}/login?next={quote(there, safe='')}", 303)

"""The doors of the desk: who a request is from, logging in, logging out."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser

from rabbitjobs.monitor.logs import escape
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.here import local_name
from rabbitjobs.review.options import DeskOptions
from rabbitjobs.review.web_options import WebOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.web.arrival import Arrival
from rabbitjobs.web.attempts import Attempts
from rabbitjobs.web.passwords import PASSWORD_MOST, Passwords
from rabbitjobs.web.sessions import Sessions
from rabbitjobs.web.tokens import PREFIX, Tokens, narrowed
from rabbitjobs.web.visitor import CookieJar, Visitor

log = logging.getLogger("rabbitjobs.web")
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME_MOST = 200


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why somebody was not let in; ``wait`` are seconds until he may try again."""

    status: int
    text: str
    wait: float = 0.0


class Doors:
    """Who may come in. ``store`` gives the app's store, ``people`` what each may do inside."""

    def __init__(
        self,
        store: Callable[[], Store],
        options: WebOptions,
        people: DeskOptions,
        clock: Callable[[], float],
        *,
        namespace: str,
    ) -> None:
        self.options = options
        self.jar = CookieJar(namespace=namespace)
        self.sessions = Sessions(store, options, clock)
        self.tokens = Tokens(store, clock)
        self._people = people
        self._passwords = Passwords(options.people)
        self._attempts = Attempts(clock)

    # --- who is it -------------------------------------------------------------------------

    async def who(self, headers: Headers, arrival: Arrival, *, api: bool) -> Visitor:
        """Who sends a request. Raises ``HTTPException`` for a token that is none of ours, and for
        anybody from elsewhere as long as nobody can log in."""
        bearer = headers.get("authorization") if api else None
        if bearer is not None:
            return await self._of_token(bearer, arrival)
        cookies = cookie_parser(headers.get("cookie", ""))
        cookie = cookies.get(self.jar.session(loopback=arrival.loopback), "")
        if self.options.people and _COOKIE.fullmatch(cookie):
            session = await asyncio.to_thread(self.sessions.find, cookie)
            if session is not None:
                person = self._people.person(session.who)
                via = f"web from {arrival.client}"
                return Visitor(how="session", person=person, via=via, cookie=cookie)
        visit = cookies.get(self.jar.visit(loopback=arrival.loopback), "")
        known = Visitor(how="nobody", cookie=visit if _COOKIE.fullmatch(visit) else "")
        return known if self.options.people else self._at_this_machine(known, arrival)

    def greeted(self, visitor: Visitor) -> Visitor:
        """The same visitor with a cookie for his forms, which must be set then."""
        return msgspec.structs.replace(visitor, cookie=secrets.token_urlsafe(32))

    def desk(self, desk: Desk, visitor: Visitor) -> Desk:
        """The desk as this visitor has it: with the rights he came with, and the way he came."""
        if visitor.how == "token" and visitor.person is not None:
            desk = desk.narrowed_to(visitor.person)
        return desk.reached_by(visitor.via)

    # --- in and out ------------------------------------------------------------------------

    async def log_in(self, name: str, password: str, arrival: Arrival) -> str | Refusal:
        """The cookie of a new session, or why there is none; both say nothing of which name is."""
        wait = self._attempts.wait(arrival.client, name[:_NAME_MOST])
        if wait > 0:
            return Refusal(status=429, text="Too many wrong logins. Try again later.", wait=wait)
        if self._passwords.busy:
            return Refusal(status=503, text="Too many logins at once. Try again.", wait=5.0)
        if len(name) > _NAME_MOST or len(password) > PASSWORD_MOST:
            return _WRONG
        # Counted before it is checked: a thousand at once would all be let through else.
        self._attempts.failed(arrival.client, name)
        if not await self._passwords.fit(name, password):
            # Without the name: it may be a password that somebody typed one field too early.
            log.warning("a login from %s was refused", escape(arrival.client))
            return _WRONG
        self._attempts.succeeded(arrival.client, name)
        log.info("%s logged in from %s", escape(name), escape(arrival.client))
        return await asyncio.to_thread(self.sessions.begin, name, via=f"web from {arrival.client}")

    async def log_out(self, visitor: Visitor) -> None:
        """End the session that this request came with."""
        if visitor.how == "session":
            await asyncio.to_thread(self.sessions.end, visitor.cookie)

    # --- inside ----------------------------------------------------------------------------

    async def _of_token(self, bearer: str, arrival: Arrival) -> Visitor:
        scheme, _, text = bearer.partition(" ")
        token = None
        if scheme.lower() == "bearer" and text.startswith(PREFIX):
            token = await asyncio.to_thread(self.tokens.find, text.strip())
        if token is None:
            raise HTTPException(
                401,
                "expected a token that is valid, got one that is unknown, expired or revoked",
                {"WWW-Authenticate": 'Bearer error="invalid_token"'},
            )
        if not self.options.people and not arrival.local:
            raise HTTPException(403, _NOBODY)
        person = narrowed(self._people.person(token.who), token.role)
        via = f"api token {token.name} from {arrival.client}"
        return Visitor(how="token", person=person, via=via)

    def _at_this_machine(self, visitor: Visitor, arrival: Arrival) -> Visitor:
        if not arrival.local:
            raise HTTPException(403, _NOBODY)
        person = self._people.person(local_name(self._people.people))
        return msgspec.structs.replace(
            visitor, how="local", person=person, via=f"web on this machine, {arrival.client}"
        )


_WRONG = Refusal(status=403, text="That name and password do not fit. Nobody was let in.")
_NOBODY = (
    "expected a request of this machine itself, because nobody can log in; "
    "name people in review.people and web.people in the config"
)

"""Who stands at the door, as a value, and the cookie that he comes with."""

from __future__ import annotations

import hashlib
import hmac
from typing import Literal

import msgspec

from rabbitjobs.review.options import Person

How = Literal["nobody", "local", "session", "token"]


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends a request, and how we know.

    ``nobody``: not logged in, ``person`` is ``None``. ``local``: whoever is at this machine, where
    nobody needs to log in. ``session`` and ``token`` have proved it. ``cookie`` is the secret that
    his forms are bound to, ``via`` what the audit says of the way he came.
    """

    how: How
    person: Person | None = None
    via: str = ""
    cookie: str = ""

    @property
    def csrf(self) -> str:
        """What every form of his must bring back; another site cannot know it."""
        if not self.cookie:
            return ""
        return hmac.new(self.cookie.encode(), b"rabbitjobs form", hashlib.sha256).hexdigest()

    def brings(self, csrf: str) -> bool:
        """Whether a form is one of his."""
        own = self.csrf
        return bool(own) and hmac.compare_digest(own.encode(), csrf.encode("utf-8", "replace"))


class CookieJar(msgspec.Struct, frozen=True, kw_only=True):
    """The names of our cookies, and how they are written.

    Off this machine they are ``Secure`` and ``__Host-``: no other host and no plain connection can
    set one, so none can be slipped in before a login.
    """

    namespace: str

    def session(self, *, loopback: bool) -> str:
        """The name of the cookie of who is logged in."""
        return self._name("session", loopback)

    def visit(self, *, loopback: bool) -> str:
        """The name of the cookie of who is not: his forms are bound to it."""
        return self._name("visit", loopback)

    def written(self, name: str, value: str, *, loopback: bool) -> str:
        """A Set-Cookie header; an empty value takes the cookie away."""
        parts = [f"{name}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
        if not value:
            parts.append("Max-Age=0")
        if not loopback:
            parts.append("Secure")
        return "; ".join(parts)

    def _name(self, kind: str, loopback: bool) -> str:
        return f"{'' if loopback else '__Host-'}rabbitjobs-{self.namespace}-{kind}"

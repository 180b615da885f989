"""The two pages that stand before the desk: the login, and a fault."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rabbitjobs.web.pages.rendering import render


class LoginForm(msgspec.Struct, frozen=True, kw_only=True):
    """What the page of the login shows. The form posts ``name``, ``password``, ``next``, ``csrf``.

    ``action`` is where to, ``next`` the path of this site to go on to, ``fault`` what was wrong
    with the last try.
    """

    action: str
    csrf: str
    next: str
    name: str = ""
    fault: str = ""


def login_page(request: Request, form: LoginForm, status: int) -> Response:
    """The form of the login."""
    return render(request, "login.html", {"title": "Log in", "form": form}, status=status)


def fault_page(request: Request, title: str, text: str, status: int) -> Response:
    """A page that says what was refused, and why."""
    return render(request, "refused.html", {"title": title, "text": text}, status=status)

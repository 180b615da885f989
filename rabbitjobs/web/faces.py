"""The two pages that stand before the desk: the login, and a fault. Without templates of their own
they are plain; nothing that comes from outside gets into them unescaped."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response


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


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a page of a refusal shows."""

    status: int
    title: str
    text: str


class Faces(NamedTuple):
    """How both are drawn; whoever draws sets the status himself."""

    login: Callable[[Request, LoginForm, int], Response]
    fault: Callable[[Request, Fault], Response]


def _login(_request: Request, form: LoginForm, status: int) -> Response:
    fault = f'<p role="alert">{escape(form.fault)}</p>' if form.fault else ""
    hidden = "".join(
        f'<input type="hidden" name="{name}" value="{escape(value)}">'
        for name, value in (("csrf", form.csrf), ("next", form.next))
    )
    return _page(
        "Log in",
        f'{fault}<form method="post" action="{escape(form.action)}">{hidden}'
        f'<p><label>Name <input name="name" value="{escape(form.name)}" required '
        'autocomplete="username" autofocus></label></p>'
        '<p><label>Password <input name="password" type="password" required '
        'autocomplete="current-password"></label></p>'
        '<p><button type="submit">Log in</button></p></form>',
        status,
    )


def _fault(request: Request, fault: Fault) -> Response:
    home = escape(str(request.scope.get("root_path", "")) + "/")
    text = f'<p>{escape(fault.text)}</p><p><a href="{home}">To the desk</a></p>'
    return _page(fault.title, text, fault.status)


def _page(title: str, body: str, status: int) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} - rabbitjobs</title></head>"
        f"<body><main><h1>{escape(title)}</h1>{body}</main></body></html>",
        status,
    )


PLAIN = Faces(login=_login, fault=_fault)
"""Both without any template."""

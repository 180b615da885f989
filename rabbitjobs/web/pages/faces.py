"""The login and the refusals of the guard, drawn like every other page."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from rabbitjobs.web.faces import Faces, Fault, LoginForm
from rabbitjobs.web.pages.rendering import render


def _login(request: Request, form: LoginForm, status: int) -> Response:
    return render(request, "login.html", {"title": "Log in", "form": form}, status=status)


def _fault(request: Request, fault: Fault) -> Response:
    values = {"title": fault.title, "text": fault.text}
    return render(request, "refused.html", values, status=fault.status)


PAGES: Final = Faces(login=_login, fault=_fault)
"""Both by the templates of the desk."""

"""What stands before the desk, as values: the login, and a fault. The templates draw both."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response


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

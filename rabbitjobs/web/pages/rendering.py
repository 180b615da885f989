"""Templates: everything that comes from outside is escaped here, once, for all pages."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from rabbitjobs import clock

# Control characters, and those that turn the direction of text around: shown as what they are.
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LONE = re.compile(r"[\ud800-\udfff]")
_STEPS = ((86400, "d"), (3600, "h"), (60, "min"))


def render(
    request: Request, template: str, values: Mapping[str, Any], *, status: int = 200
) -> HTMLResponse:
    """A page for the person of this request. Pages are never kept by a browser or a proxy."""
    state = request.state
    common = {
        "person": getattr(state, "person", None),
        "mark": getattr(state, "mark", ""),
        "csrf": getattr(state, "csrf", ""),
        "logged_in": getattr(getattr(state, "visitor", None), "how", "") == "session",
        "root": str(request.scope.get("root_path", "")),
        "path": request.url.path,
        "now": clock.now(),
        "release": _release(),
    }
    text = environment().get_template(template).render({**common, **values})
    return HTMLResponse(text, status, headers={"Cache-Control": "no-store"})


@functools.cache
def environment() -> Environment:
    """The templates of the package, with autoescape on for all of them."""
    made = Environment(
        loader=PackageLoader("rabbitjobs.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    made.filters.update(time=time, ago=ago, until=until, exact=exact, count=count)
    return made


def time(at: float | None) -> Markup:
    """A moment, in UTC; a script puts it into the zone of the viewer."""
    return _moment(at, "%Y-%m-%d %H:%M:%S UTC", "")


def ago(at: float | None) -> Markup:
    """How long ago a moment was."""
    return _moment(at, "", "ago")


def until(at: float | None) -> Markup:
    """How long it is until a moment."""
    return _moment(at, "", "until")


def exact(text: str) -> Markup:
    """A text for a field of a form: not a character of it may change on its way."""
    # A browser drops the first line end of a textarea.
    return Markup("\n") + escape(_LONE.sub("\ufffd", text))


def count(number: int) -> str:
    """A number with its thousands apart."""
    return f"{number:,}".replace(",", "\u202f")


def span(seconds: float) -> str:
    """A length of time in its largest unit."""
    for size, unit in _STEPS:
        if seconds >= size:
            return f"{seconds // size:.0f}\u00a0{unit}"
    return f"{max(0, seconds):.0f}\u00a0s"


def _moment(at: float | None, form: str, kind: str) -> Markup:
    if at is None:
        return Markup("")
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):  # a message may claim a time of no calendar
        return escape(f"{at:.0f} s after 1970")
    plain = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    if kind:
        seconds = at - clock.now()
        said = f"in {span(seconds)}" if kind == "until" else f"{span(-seconds)} ago"
    else:
        said = moment.strftime(form)
    stamp = moment.isoformat(timespec="milliseconds")
    return Markup('<time datetime="{}" title="{}" data-time="{}">{}</time>').format(
        stamp, plain, kind or "full", said
    )


def _visible(value: Any) -> Any:
    if value is None:
        return ""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    seen = _UNSEEN.sub(lambda one: f"\\u{ord(one.group()):04x}", value)
    return _LONE.sub(lambda one: f"\\u{ord(one.group()):04x}", seen)


@functools.cache
def _release() -> str:
    try:
        return version("rabbitjobs")
    except PackageNotFoundError:
        return ""

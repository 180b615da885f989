"""What can be a store's URL: told without SQLAlchemy, so that a config is checked cheaply."""

from __future__ import annotations

import re
from typing import Final

from rabbitjobs.errors import StoreError

POSTGRES: Final = ("postgresql", "postgres", "postgresql+psycopg")
SQLITE: Final = ("sqlite", "sqlite+pysqlite")
_URL = re.compile(r"(?P<scheme>[\w+]+)://(?:[^/@]*@|[^:/]*:[^@]*@)?(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[[^]/?]+\]|[^/:?]*)(?::[0-9]*)?(?:[/?]|$)")


def check_url(text: str) -> None:
    """Raise ``StoreError`` for a URL of no database that can be a store.

    In-memory SQLite is none: it would be a database of its own for every thread.
    """
    found = _URL.fullmatch(text)
    scheme, rest = (found["scheme"], found["rest"]) if found else ("", "")
    if not found or (scheme in POSTGRES and not _HOST.match(rest)):
        raise no_url()
    if scheme in SQLITE:
        if rest.partition("?")[0].partition("/")[2] in ("", ":memory:"):
            raise StoreError("expected sqlite:///path, got an in-memory SQLite; name a file")
    elif scheme not in POSTGRES:
        raise StoreError(
            f"expected sqlite:///path or postgresql://host/database, got {scheme}://; "
            "use one of the two"
        )


def no_url() -> StoreError:
    """What is said of a text that is no URL; it never quotes it."""
    return StoreError(
        "expected a store URL such as sqlite:///path or postgresql://host/database, got "
        "something that is no URL; correct store.url"
    )

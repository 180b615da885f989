"""Secrets: texts that do not show themselves, and passwords taken out of texts that hold one."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

_URL_PASSWORD = re.compile(
    r"(?P<head>[a-z][a-z0-9+.-]*://[^\s:/?#@]*:)[^\s/?#]+(?=@)", re.IGNORECASE
)
_QUERY_SECRET = re.compile(
    r"(?P<head>[?&;](?:password|passwd|secret|token|api_?key|signature|sig)=)[^\s&;#]+",
    re.IGNORECASE,
)


class Secret:
    """A text that shows itself only to ``reveal``: its ``repr`` and ``str`` are masked."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def mask(text: str) -> str:
    """``text`` with the passwords of URLs and the secrets of query strings replaced by ``***``."""
    return _QUERY_SECRET.sub(rf"\g<head>{HIDDEN}", _URL_PASSWORD.sub(rf"\g<head>{HIDDEN}", text))

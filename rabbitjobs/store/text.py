"""Text that every database takes."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text with what PostgreSQL or UTF-8 refuse (NUL, lone surrogates) written as an escape.

    An error message may hold anything; a refused one would leave its job without an ending.
    """
    if text.isascii():
        return text.replace("\0", "\\x00") if "\0" in text else text
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\0", "\\x00")


def storable_or_none(text: str | None) -> str | None:
    """``storable``, which lets ``None`` through."""
    return None if text is None else storable(text)

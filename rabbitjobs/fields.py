"""Checks on config values: each gives a usable value and collects what is wrong, so that a file
shows all its faults at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any

from rabbitjobs.clock import format_duration, parse_duration
from rabbitjobs.secret import HIDDEN
from rabbitjobs.yaml import Document, Node, dotted, plain


def root(document: Document) -> Field:
    """The place to start checking a document from."""
    return Field(document, (), document.node)


@dataclass(frozen=True, slots=True)
class Field:
    """A place in a document. Its methods check the value there; faults are collected."""

    document: Document
    path: tuple[str | int, ...]
    node: Node | None
    """``None``: the key is not there."""

    @property
    def line(self) -> int:
        """The line of this value, 0 where there is none."""
        return self.node.line if self.node else 0

    @property
    def given(self) -> bool:
        """Whether there is a value; a key with ``null`` counts as left out."""
        return self.node is not None and self.node.value is not None

    def fail(self, expected: str, got: str | None = None) -> None:
        """Report this place; without ``got`` the value itself is shown."""
        shown = self._show() if got is None else got
        self.document.report(self.line, dotted(self.path), expected, shown)

    def child(self, key: str) -> Field:
        """The place below, whether it is there or not."""
        inside = self.node.value if self.node and isinstance(self.node.value, dict) else {}
        return Field(self.document, (*self.path, key), inside.get(key))

    def keys(self, *known: str, required: Collection[str] = ()) -> Field:
        """Check that this is a mapping of ``known`` keys only, the ``required`` ones among them."""
        for entry in self.entries():
            name = str(entry.path[-1])
            if name not in known:
                near = get_close_matches(name, known, 1)
                hint = f"{near[0]}" if near else f"one of {', '.join(known)}"
                entry.fail(hint, f"the unknown key {name!r}")
        for name in required:
            if self.given and not self.child(name).given:
                self.fail(f"the key {name}", "none")
        return self

    def entries(self) -> tuple[Field, ...]:
        """The places inside a mapping, in the order of the file."""
        if not self.given or self.node is None:
            return ()
        if not isinstance(self.node.value, dict):
            self.fail("a mapping (key: value)")
            return ()
        return tuple(self.child(key) for key in self.node.value)

    def items(self, *, single: bool = False) -> tuple[Field, ...]:
        """The places inside a list; ``single`` takes a lone value for a list of one."""
        if not self.given or self.node is None:
            return ()
        value = self.node.value
        if isinstance(value, list):
            return tuple(Field(self.document, (*self.path, i), n) for i, n in enumerate(value))
        if single:
            return (self,)
        self.fail("a list")
        return ()

    def text(self, default: str = "", *, fault: Callable[[str], str | None] | None = None) -> str:
        """A text; ``fault`` says what was expected of a text that will not do."""
        value = self._of(str, "text")
        if not isinstance(value, str):
            return default
        expected = fault(value) if fault else "" if value else "text that is not empty"
        if expected:
            self.fail(expected)
        return str(value)

    def choice(self, options: Collection[str], default: str = "") -> str:
        """One of ``options``."""
        value = self._of(str, f"one of {', '.join(options)}")
        if isinstance(value, str) and value not in options:
            near = get_close_matches(value, options, 1)
            self.fail(near[0] if near else f"one of {', '.join(options)}")
            return default
        return value if isinstance(value, str) else default

    def texts(self, *, single: bool = False) -> tuple[str, ...]:
        """A list of texts, each once."""
        found = [(item, item.text()) for item in self.items(single=single)]
        seen: set[str] = set()
        for item, text in found:
            if text in seen:
                item.fail("each entry once")
            seen.add(text)
        return tuple(text for _, text in found if text)

    def integer(self, default: int, *, least: int, most: int) -> int:
        """A whole number between the two, both included."""
        span = f"a whole number from {least} to {most}"
        value = self._of(int, span)
        if not isinstance(value, int):
            return default
        if not least <= value <= most:
            self.fail(span)
            return default
        return value

    def number(self, default: float, *, least: float, most: float) -> float:
        """A number between the two, both included."""
        span = f"a number from {least:g} to {most:g}"
        value = self._of((int, float), span)
        if not isinstance(value, int | float):
            return default
        if not least <= value <= most:
            self.fail(span)
            return default
        return float(value)

    def flag(self, default: bool = False) -> bool:
        """``true`` or ``false``."""
        value = self._of(bool, "true or false")
        return value if isinstance(value, bool) else default

    def duration(self, default: timedelta, *, least: timedelta, most: timedelta) -> timedelta:
        """A duration with its unit, between the two, both included."""
        span = f"a duration from {format_duration(least)} to {format_duration(most)}"
        value = self._of(str, f"{span}, such as 5s or 10m")
        if not isinstance(value, str):
            return default
        try:
            found = parse_duration(value)
        except (ValueError, OverflowError):
            self.fail(f"{span}, such as 5s or 10m")
            return default
        if not least <= found <= most:
            self.fail(span)
            return default
        return found

    def size(self, default: int, *, least: int, most: int) -> int:
        """A number of bytes with its unit (KiB, MiB, GiB), between the two, both included."""
        span = f"a size from {_size_text(least)} to {_size_text(most)}, such as 512MiB"
        value = self._of(str, span)
        if not isinstance(value, str):
            return default
        hit = re.fullmatch(r"(\d{1,9}) ?(KiB|MiB|GiB)", value)
        found = int(hit[1]) * _SIZES[hit[2]] if hit else 0
        if not least <= found <= most:
            self.fail(span)
            return default
        return found

    def _of(self, kind: type | tuple[type, ...], expected: str) -> Any:
        if not self.given or self.node is None:
            return None
        value = self.node.value
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(expected)
            return None
        return value

    def _show(self) -> str:
        value = plain(self.node) if self.node else None
        text = "nothing" if value is None else _without_passwords(repr(value))
        return text if len(text) <= 60 else f"{text[:57]}..."


_SIZES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _size_text(size: int) -> str:
    unit = next(unit for unit in ("GiB", "MiB", "KiB") if size >= _SIZES[unit])
    return f"{size // _SIZES[unit]}{unit}"


# Up to the last @ of it: a password may hold every character, and one that is not escaped is just
# what makes a URL wrong.
_LOGIN = re.compile(r"://[^\s'\"]*@")


def _without_passwords(text: str) -> str:
    return _LOGIN.sub(f"://{HIDDEN}@", text)

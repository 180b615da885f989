"""A rate: how many jobs may start in how long, and among whom that is shared. Pure."""

from __future__ import annotations

import re
from typing import Final, Literal

import msgspec

Scope = Literal["fleet", "process"]
SCOPES: Final[tuple[Scope, ...]] = ("fleet", "process")
RATE_EXPECTED: Final = "a rate such as 100/s, 600/m or 50/h, of at most 100000/s"

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_TEXT: Final = re.compile(r"([1-9]\d{0,8})\s*/\s*([smh])")
_FASTEST: Final = 100_000.0


class Rate(msgspec.Struct, frozen=True):
    """At most ``count`` starts in ``seconds``, evenly: 600/m is the same as 10/s.

    ``scope``: ``fleet`` shares it among all processes, over the store; ``process`` grants it to
    each process by itself.
    """

    count: int
    seconds: float
    scope: Scope = "fleet"

    @property
    def spacing(self) -> float:
        """The seconds from one start to the next."""
        return self.seconds / self.count

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _UNITS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}" + (" in each process" if self.scope == "process" else "")


def checked(given: Rate | str) -> Rate:
    """A rate that was given as a text or a value; raises ``ValueError`` for what is none."""
    if isinstance(given, str):
        return rate(given)
    if not isinstance(given, Rate):
        raise ValueError(f"expected {RATE_EXPECTED}, got {given!r}")
    unit = next((unit for unit, seconds in _UNITS.items() if seconds == given.seconds), "")
    return rate(f"{given.count}/{unit}", scope=given.scope)


def rate(text: str, *, scope: Scope = "fleet") -> Rate:
    """Read a rate such as ``100/s``, ``600/m``, ``50/h``; raises ``ValueError`` for another text.

    For ``@job(rate=rate("100/s", scope="process"))``; a text alone is of the whole fleet.
    """
    hit = _TEXT.fullmatch(text.strip())
    if hit is None or scope not in SCOPES:
        raise ValueError(f"expected {RATE_EXPECTED}, got {text!r}")
    found = Rate(int(hit[1]), _UNITS[hit[2]], scope)
    if found.count / found.seconds > _FASTEST:
        raise ValueError(f"expected {RATE_EXPECTED}, got {text!r}")
    return found

"""What a row of the matrix is: a name, a play, and where it is played."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.faults.stage import Stage

Place = Literal["node", "cluster"]
Play = Callable[[Stage], None]


@dataclass(frozen=True)
class Row:
    """One fault, as ``play`` injects it into a stage under load.

    ``everywhere``: it touches the wire or the version, and is played on all of them. ``topology``
    are further lines of the work queue's configuration, ``settings`` of the broker's, which then
    has a node of its own. ``most_seconds`` is how long it may take.
    ``quick``: it is part of ``make test``.
    """

    name: str
    play: Play
    place: Place = "node"
    everywhere: bool = False
    quick: bool = False
    topology: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    most_seconds: float = 60.0


ROWS: dict[str, Row] = {}


def row(
    *,
    place: Place = "node",
    everywhere: bool = False,
    quick: bool = False,
    topology: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    most_seconds: float = 60.0,
) -> Callable[[Play], Play]:
    """Add a function to the matrix, under its own name."""

    def add(play: Play) -> Play:
        name = play.__name__.replace("_", "-")
        made = Row(
            name, play, place, everywhere, quick, topology or {}, settings or {}, most_seconds
        )
        assert ROWS.setdefault(name, made) is made, name
        return play

    return add

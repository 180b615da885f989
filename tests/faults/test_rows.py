"""The quickest rows of the fault matrix, in every run of the tests; `make faults` plays all."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from rabbitjobs.failpoints import PLACES
from tests.brokers import wanted_version
from tests.faults import rows_desk
from tests.faults.matrix import MATRIX
from tests.faults.run import REFERENCE, Place, Theatre, line, schedule
from tests.faults.stage import ROOT

# What runs in the intake, in a command of the desk, in the web server.
DESK = ("rabbitjobs/app/desk_roles.py", "rabbitjobs/review/*.py", "rabbitjobs/web/**/*.py")
ELSEWHERE = {"after-forward-confirm", "after-publish-confirm", "after-mail"}


@pytest.fixture(scope="module")
def theatre() -> Iterator[Theatre]:
    """Nodes of our own: rows break them."""
    with Theatre() as made:
        yield made


@pytest.mark.timeout(150)
@pytest.mark.parametrize("name", [row.name for row in MATRIX.values() if row.quick])
def test_a_row_of_the_fault_matrix_holds(theatre: Theatre, name: str) -> None:
    """Nothing confirmed is lost, outcomes are recorded once, duplicates stay in their bounds."""
    account = theatre.play(MATRIX[name], Place(wanted_version() or REFERENCE, "pika"), seed=1)
    assert account.holds, line(account)


def test_rows_that_touch_wire_or_version_are_played_on_all_of_them() -> None:
    """And every other row once, on the reference."""
    played = schedule(MATRIX.values(), ["4.3", "4.0", "3.10"], ["pika", "aio-pika"])
    everywhere = [row for row in MATRIX.values() if row.everywhere]
    assert len(played) == len(MATRIX) + 3 * len(everywhere)
    assert {str(place) for row, place in played if row is everywhere[0]} == {
        "4.3 pika",
        "4.3 aio-pika",
        "4.0 pika",
        "3.10 pika",
    }


def test_every_fault_of_the_list_has_a_row() -> None:
    """Names are the matrix's public face: a row that vanishes must be missed."""
    assert len(MATRIX) >= 40
    assert {"worker-kill", "partition", "disk-full", "clock-jumps", "composite"} <= MATRIX.keys()
    assert {"children-killed", "children-hang", "children-leak"} <= MATRIX.keys()


def test_every_failpoint_of_the_desk_is_one_of_its_rows() -> None:
    """A place that is added to the desk, or moved there, is played too."""
    code = "".join(file.read_text() for part in DESK for file in ROOT.glob(part))
    reached = {*re.findall(r'failpoints\.reach\(\s*"([^"]+)"', code)}
    assert reached == rows_desk.PLACES
    assert {*PLACES} - ELSEWHERE == rows_desk.PLACES

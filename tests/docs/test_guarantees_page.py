"""The page of guarantees names what exists: every test and every row of the fault matrix in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.docs.reader import ROOT
from tests.faults.matrix import MATRIX

PAGE = ROOT / "docs" / "guarantees.md"


def proofs(text: str) -> Iterator[tuple[str, str]]:
    """The first cell of each line of each table, and its last: what shows it."""
    for table in re.findall(r"(?m)(?:^\|.*\n)+", text):
        for line in table.splitlines()[2:]:
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            yield cells[0], cells[-1]


@cache
def functions(path: Path) -> frozenset[str]:
    """The names of a file's functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        one.name
        for one in ast.walk(tree)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def unfounded(proof: str) -> str | None:
    """What is wrong with one name; ``None`` if it is a row, a test, or the soak."""
    if proof in MATRIX:
        return None
    if proof.startswith("make "):
        made = re.search(rf"(?m)^{proof.split()[1]}:", (ROOT / "Makefile").read_text())
        return None if made else f"expected a target of the Makefile, got {proof}"
    file, _, name = proof.partition("::")
    path = ROOT / "tests" / file
    if path.suffix != ".py" or not path.is_file():
        return f"expected a row of the matrix or a file under tests, got {proof}"
    return (
        None
        if name.startswith("test_") and name in functions(path)
        else f"expected a test of {file}, got {name!r}"
    )


@pytest.mark.parametrize(
    ("what", "shown"), [pytest.param(*one, id=one[0][:60]) for one in proofs(PAGE.read_text())]
)
def test_a_promise_names_what_shows_it(what: str, shown: str) -> None:
    """Rows and tests that exist, one or more; only what no test can show has a dash."""
    named = re.findall(r"`([^`]+)`", shown)
    assert [wrong for wrong in map(unfounded, named) if wrong] == []
    assert re.sub(r"`[^`]+`|[, ]", "", shown) == ("" if named else "-"), shown
    assert named or what.startswith("**Power loss.**")


def test_every_row_of_the_matrix_stands_behind_a_promise() -> None:
    """A row that shows nothing is not needed, or a promise is missing."""
    everything = " ".join(shown for _, shown in proofs(PAGE.read_text()))
    assert MATRIX.keys() - {*re.findall(r"`([^`]+)`", everything)} == set()


@pytest.mark.parametrize(
    "proof",
    [
        "broker-kil",
        "make sook",
        "broker/test_node.py",
        "broker/test_node.py::test_that_nobody_wrote",
        "broker/test_gone.py::test_confirmed_messages_survive_sigkill",
        "faults/ledger.py::balance",
    ],
)
def test_a_name_that_nothing_stands_behind_is_found(proof: str) -> None:
    """A renamed test must be missed here."""
    assert unfounded(proof)

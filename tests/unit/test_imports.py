"""Importing stays cheap, and files and functions stay small."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_SECONDS = 0.120
SLOW = (
    "sqlalchemy",
    "alembic",
    "pydantic",
    "rich",
    "starlette",
    "click",
    "httpx",
    "watchfiles",
    "ruamel",
)
PROGRAM = """
import sys, time
before = time.process_time()
import rabbitjobs
app = rabbitjobs.RabbitJobs()

@app.job
def job(a: int) -> int:
    return a

took = time.process_time() - before
print(took, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def start() -> tuple[float, set[str]]:
    """How many seconds of CPU a fresh process needs, and which packages it has loaded then.

    The clock would measure what else the machine does; by the clock it is a row of `make bench`.
    """
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    took, *names = ran.stdout.split()
    return float(took), set(names)


def test_importing_and_making_an_app_takes_at_most_120_ms() -> None:
    """The best of several fresh processes."""
    tries = (start()[0] for _ in range(20))
    assert any(seconds <= MOST_SECONDS for seconds in tries)


def test_importing_pulls_in_nothing_that_is_slow() -> None:
    """A service that only sends pays for no database, no terminal and no web server."""
    _, loaded = start()
    assert not loaded & set(SLOW)


SOURCES = sorted((ROOT / "rabbitjobs").rglob("*.py"))


def functions(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every function with its length in lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            yield node.name, node.end_lineno - node.lineno + 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    """At most 400 lines for a file, 60 for a function."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    long = {name: lines for name, lines in functions(ast.parse(text)) if lines > 60}
    assert not long

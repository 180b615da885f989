"""The types that users see, pinned: both type checkers accept and refuse the same lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
USERS = HERE / "users.py"
ROOT = HERE.parents[1]


def expected() -> set[int]:
    """The lines that must be refused."""
    lines = USERS.read_text(encoding="utf-8").splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# error")}


def complaints(*command: str) -> tuple[set[int], str]:
    """The lines of ``users.py`` that a checker refuses, and all that it says."""
    ran = subprocess.run(
        [sys.executable, "-m", *command, str(USERS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    said = ran.stdout + ran.stderr
    found = re.findall(r"users\.py:(\d+)(?::\d+)?(?: -)?:? error", said)
    return {int(line) for line in found}, said


def test_mypy_refuses_exactly_what_is_wrong() -> None:
    """Wrong arguments of ``send``, unknown options and wrong result types are errors."""
    refused, said = complaints("mypy", "--strict", "--no-incremental")
    assert refused == expected(), said


def test_pyright_refuses_exactly_what_is_wrong() -> None:
    """As mypy does."""
    refused, said = complaints("pyright")
    assert refused == expected(), said

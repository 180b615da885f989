"""The types that users see, pinned: both type checkers accept and refuse the same lines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
USERS = HERE / "users.py"
ROOT = HERE.parents[1]


def check(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a type checker on ``users.py``."""
    return subprocess.run(
        [sys.executable, "-m", *command, str(USERS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.timeout(300)
def test_mypy_refuses_exactly_what_is_wrong() -> None:
    """An ignore comment that hides no error would itself be one."""
    ran = check("mypy", "--strict")
    assert ran.returncode == 0, ran.stdout


@pytest.mark.timeout(300)
def test_pyright_refuses_exactly_what_is_wrong() -> None:
    """It is told to overlook the ignore comments, and must complain about each of those lines."""
    lines = USERS.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# type: ignore[" in line}
    said = check("pyright").stdout
    assert {int(line) for line in re.findall(r"users\.py:(\d+):\d+ - error", said)} == wrong, said

"""The types that users see, pinned: both type checkers accept and refuse the same lines."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

USERS = Path(__file__).with_name("users.py")
ROOT = USERS.parents[2]


def check(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a type checker to its end."""
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.timeout(300)
def test_mypy_refuses_exactly_what_is_wrong() -> None:
    """An ignore comment that hides no error would itself be one."""
    ran = check("mypy", "--strict", str(USERS))
    assert ran.returncode == 0, ran.stdout


@pytest.mark.timeout(300)
def test_pyright_refuses_exactly_what_is_wrong(tmp_path: Path) -> None:
    """It is told to overlook the ignore comments, and must complain about each of those lines."""
    shutil.copy(USERS, tmp_path)
    config = {"enableTypeIgnoreComments": False, "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    lines = USERS.read_text(encoding="utf-8").splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# type: ignore[" in line}
    said = check("pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)).stdout
    assert {int(line) for line in re.findall(r"users\.py:(\d+):\d+ - error", said)} == wrong, said

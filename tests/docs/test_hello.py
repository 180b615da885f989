"""The hello world needs one file, no config, no URL: two shells are enough."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reader import ROOT, Reader, end

# Many processes, one after another: on a busy machine each start takes many seconds.
pytestmark = pytest.mark.timeout(360)


@pytest.fixture
def beginner(tmp_path: Path) -> Iterator[Reader]:
    """Somebody with hello.py in a folder, whose private node is not running yet."""
    shutil.copy(ROOT / "examples" / "hello.py", tmp_path)
    paths = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    somebody = Reader(tmp_path, {**os.environ, **paths})
    yield somebody
    somebody.python("-m", "rabbitjobs", "broker", "stop")


def test_hello_world_is_short() -> None:
    """At most 15 lines, with everything in them."""
    assert len((ROOT / "examples" / "hello.py").read_text().splitlines()) <= 15


def test_hello_world_in_two_shells(beginner: Reader) -> None:
    """`dev` in the first; a send and its result in the second, without a URL anywhere."""
    first = beginner.start("-m", "rabbitjobs", "--app", "hello:app", "dev")
    try:
        program = "from hello import hello; print(hello.send('world').result(timeout=60))"
        second = _second_shell(beginner, program, first)
        assert second == "hello world\n", beginner.log()
    finally:
        assert end(first) == 0, beginner.log()


def _second_shell(beginner: Reader, program: str, first: subprocess.Popen[bytes]) -> str:
    # The second shell may be faster than the first: until the private node runs there is no
    # broker to find, and the send says so.
    for _ in range(60):
        assert first.poll() is None, beginner.log()
        ran = subprocess.run(
            [sys.executable, "-c", program],
            cwd=beginner.folder,
            env=beginner.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        if ran.returncode == 0:
            return ran.stdout
    raise AssertionError(f"no greeting: {ran.stderr}")

"""structlog works as with rich, and rich is imported when it is needed."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import io, sys
from rabbitjobs.monitor import logs
import structlog

logs.configure("INFO", "{format}")
try:
    raise ValueError("a fault")
except ValueError:
    structlog.get_logger("test").exception("it failed")
assert not any(name.partition(".")[0] == "rich" for name in sys.modules), "rich is loaded"
{more}
"""


def run(format: str, more: str = "") -> str:
    """What a process says that logs an error; no rich is loaded until then."""
    program = PROGRAM.replace("{format}", format).replace("{more}", more)
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


def test_logging_takes_no_rich() -> None:
    """In either form, errors included."""
    assert '"exception": "Traceback' in run("json")
    assert "ValueError: a fault" in run("console")


def test_what_asks_structlog_for_rich_gets_it() -> None:
    """An app that draws its tracebacks itself."""
    more = """
out = io.StringIO()
try:
    raise ValueError("another fault")
except ValueError:
    structlog.dev.RichTracebackFormatter(color_system=None)(out, sys.exc_info())
    structlog.dev.rich_traceback(out, sys.exc_info())
assert "Traceback (most recent call last)" in out.getvalue() and "\u256d" in out.getvalue()
assert structlog.tracebacks.to_repr(["x" * 100], max_string=5) == "['xxxxx'+95]"
from rich.console import Console
assert isinstance(Console(), __import__("rich.console").console.Console)
print("drawn")
"""
    assert "drawn" in run("json", more)

"""Starts the demo as a person does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from examples.shop.processes import ROOT

# A shell that puts the tests into the background has them ignore Ctrl-C, and so the demo.
HEED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, sys.argv[1:])
"""
DEMO = (sys.executable, "-m", "examples.shop.demo")


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """With this folder, in a session of its own; what it prints is read from ``stdout``."""
    return subprocess.Popen(
        [sys.executable, "-c", HEED, *DEMO, "--keep", str(folder), *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

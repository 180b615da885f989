"""The review desk in a browser, with the cases that the demo has left there."""

from __future__ import annotations

import contextlib
import socket
import time

from examples.shop.screen import Screen
from examples.shop.stage import Stage

NAME = "desk-page"
PORT = 8642
PATIENCE = 30.0


def keep_open(stage: Stage, screen: Screen) -> None:
    """Serve the desk until Ctrl-C, while the workers go on with what is sent from there.

    Raises ``RuntimeError`` if it does not come up.
    """
    port = _free_port()
    page = stage.processes.start(NAME, "rabbitjobs", "web", "--port", str(port))
    deadline = time.monotonic() + PATIENCE
    while not _listens(port):
        if page.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"expected the page to come up; see {stage.folder / NAME}.log")
        time.sleep(0.1)
    with contextlib.suppress(KeyboardInterrupt):
        screen.say(f"the review desk is at http://127.0.0.1:{port}/ until Ctrl-C")
        page.wait()


def _free_port() -> int:
    """The usual one, another if that is taken."""
    for port in (PORT, 0):
        with contextlib.suppress(OSError), socket.socket() as free:
            free.bind(("127.0.0.1", port))
            return int(free.getsockname()[1])
    raise RuntimeError("expected a free port on 127.0.0.1, got none")


def _listens(port: int) -> bool:
    with socket.socket() as line:
        line.settimeout(1)
        return line.connect_ex(("127.0.0.1", port)) == 0

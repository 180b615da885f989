"""How a worker process is told to end, and that it ends even when its jobs do not let it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn

import structlog

log = structlog.get_logger("rabbitjobs.worker")
# What the orderly end gets beyond the grace, and after a second signal.
LATE_SECONDS = 20.0
SHARP_SECONDS = 5.0


class Signals:
    """SIGTERM and SIGINT: what ``install`` was given is called, ``hurried`` from the second on.

    Not the event loop's own handlers: a job that blocks the loop would hold those back for ever,
    and a process forked by a job would hand its SIGTERM on to us. A process that has not ended
    ``grace`` seconds (and a little) after the first signal, or soon after the second, is ended:
    what it had not acked is delivered again. Install in the main thread.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._pid = os.getpid()
        self._told = False
        self._before: dict[signal.Signals, Any] = {}
        self._timers: list[threading.Timer] = []

    def install(self, stopped: Callable[[], object], hurried: Callable[[], object]) -> None:
        """Take over both signals from now on."""
        self._stopped, self._hurried = stopped, hurried
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._on_signal)

    def remove(self) -> None:
        """The work has ended: hand the signals back, and let the process live."""
        for timer in self._timers:
            timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def stop(self) -> None:
        """As the first signal does."""
        self._told = True
        self._end_after(self._grace + LATE_SECONDS)
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._stopped()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if os.getpid() != self._pid:  # a process that a job forked: the signal means only that
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._told:
            self._end_after(SHARP_SECONDS)
            with contextlib.suppress(RuntimeError):
                self._hurried()
        else:
            self.stop()

    def _end_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, _end)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()


def leave(code: int) -> NoReturn:
    """End this process now, without waiting for any thread."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _end() -> None:
    log.error("a job holds up the end of this process: left to the broker, which delivers it again")
    leave(1)

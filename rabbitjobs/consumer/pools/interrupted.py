"""A call on a thread that can be interrupted: an exception is raised in it at its next bytecode."""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rabbitjobs.errors import SoftTimeLimit

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.c_void_p)

# More than enough: it is raised at the first jump back.
TURNS = 10


class Interruptible:
    """One call of a job's function; call it on the thread, ``interrupt`` it from another.

    ``begun`` is when that was, by ``time.monotonic``. Code that never comes back to Python, such as
    a read without a timeout, hears of the interruption when it does.
    """

    def __init__(
        self, function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        self._function, self._args, self._kwargs = function, args, kwargs
        self._lock = threading.Lock()
        self._thread: int | None = None
        self._struck = False
        self.begun: float | None = None

    def __call__(self) -> Any:
        """Run it here."""
        self.begun = time.monotonic()
        # Both, so that what is raised between the two still belongs to this call.
        try:
            try:
                self._thread = threading.get_ident()
                return self._function(*self._args, **self._kwargs)
            finally:
                self._leave()
        finally:
            self._leave()

    def interrupt(self) -> None:
        """Raise ``SoftTimeLimit`` in the call; nothing happens before and after it."""
        with self._lock:
            if self._thread is not None:
                self._struck = True
                _raise_in(self._thread, id(SoftTimeLimit))

    def _leave(self) -> None:
        with self._lock:
            self._thread = None
        if self._struck:
            _take_in()


def _take_in() -> None:
    """Raise here what was asked for and not raised yet: it must not hit the next call.

    Taking it back instead (with ``None``) leaves a flag of the interpreter (3.11) set for good: all
    threads run slower from then on, and one that is traced, by coverage or a debugger, not at all.
    """
    with contextlib.suppress(SoftTimeLimit):
        for _ in range(TURNS):
            continue

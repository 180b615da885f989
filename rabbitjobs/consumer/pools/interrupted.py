"""A call on a thread that can be interrupted: an exception is raised in it at its next bytecode."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rabbitjobs.errors import SoftTimeLimit

_raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.c_void_p)


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
                _raise_in(self._thread, id(SoftTimeLimit))

    def _leave(self) -> None:
        with self._lock:
            if self._thread is not None:
                # What was asked for and not raised yet must not hit the next call.
                _raise_in(self._thread, None)
                self._thread = None

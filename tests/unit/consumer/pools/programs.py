"""Programs of children that do not start as they should."""

from __future__ import annotations

import atexit
import errno
import os
import threading
from pathlib import Path

from rabbitjobs.job.registry import Registry
from rabbitjobs.testing.pools.jobs import registry


def unimportable_while(path: str) -> Registry:
    """The app's import fails as long as there is a file."""
    if Path(path).exists():
        raise LookupError("no such setting")
    return registry()


def dying_while(path: str) -> Registry:
    """Children die at once as long as there is a file."""

    def die() -> None:
        if Path(path).exists():
            os._exit(7)

    os.register_at_fork(after_in_child=die)
    return registry()


def without_room_while(path: str) -> Registry:
    """The machine has no room for another process as long as there is a file."""
    fork = os.fork

    def refuse() -> int:
        if Path(path).exists():
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return fork()

    os.fork = refuse
    return registry()


def with_threads() -> Registry:
    """The import starts a thread, as some clients of metrics do."""
    threading.Thread(target=threading.Event().wait, name="metrics", daemon=True).start()
    return registry()


def leaving_a_note(path: str) -> Registry:
    """Children run their exit handlers."""
    atexit.register(lambda: Path(path, str(os.getpid())).touch())
    return registry()

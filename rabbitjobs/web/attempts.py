"""How often somebody may be wrong: failed logins by client and by name, in one process's memory."""

from __future__ import annotations

from collections.abc import Callable

WINDOW_SECONDS = 600.0
BY_CLIENT = 10
# More than by client: whoever guesses from many places shall not lock its owner out too soon.
BY_NAME = 30
KEPT_MOST = 10_000


class Attempts:
    """Counts what failed in the last ten minutes; ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failed: dict[tuple[str, str], list[float]] = {}

    def wait(self, client: str, name: str) -> float:
        """The seconds until this client may try this name again; 0: now."""
        return max(
            self._wait(("client", client), BY_CLIENT), self._wait(("name", name), BY_NAME), 0.0
        )

    def failed(self, client: str, name: str) -> None:
        """Count one that is under way or has failed, before its password is looked at."""
        if len(self._failed) >= KEPT_MOST:
            self._forget_old()
        for key in (("client", client), ("name", name)):
            self._failed.setdefault(key, []).append(self._clock())

    def succeeded(self, client: str, name: str) -> None:
        """The last one counted was right: forget it, and what this name got wrong before."""
        self._failed.pop(("name", name), None)
        counted = self._failed.get(("client", client))
        if counted:
            counted.pop()

    def _wait(self, key: tuple[str, str], most: int) -> float:
        since = self._clock() - WINDOW_SECONDS
        recent = [at for at in self._failed.get(key, ()) if at > since]
        if recent:
            self._failed[key] = recent
        else:
            self._failed.pop(key, None)
        return recent[-most] - since if len(recent) >= most else 0.0

    def _forget_old(self) -> None:
        since = self._clock() - WINDOW_SECONDS
        self._failed = {key: at for key, at in self._failed.items() if at[-1] > since}
        if len(self._failed) >= KEPT_MOST:  # those who were wrong most often are the ones to know
            ranked = sorted(self._failed.items(), key=lambda one: len(one[1]), reverse=True)
            self._failed = dict(ranked[: KEPT_MOST // 2])

"""Named places where a test can end the process as ``kill -9`` would; off unless asked for.

``RABBITJOBS_FAILPOINT=after-mail`` ends the process at the place of that name the first time it is
reached: no buffer is flushed, no connection closed, no handler run. Never set it in production.
"""

from __future__ import annotations

import os
from typing import Final, Literal, get_args

from rabbitjobs.errors import FailpointUnknown

VARIABLE: Final = "RABBITJOBS_FAILPOINT"
EXIT_CODE: Final = 137
"""What a shell reports of a process that ``kill -9`` ended."""

Place = Literal[
    "after-forward-confirm",  # a worker: what follows an attempt is confirmed, its delivery unacked
    "after-publish-confirm",  # a publisher: the broker has confirmed, ``send`` has not returned
    "after-mail",  # the notifier: a channel took the message, and that is remembered; not acked
    "after-intake-commit",  # the intake: the case is in the store, its message unacked
    "after-release-commit",  # the desk: a release is promised, and not published yet
    "after-release-confirm",  # the desk: the broker has it, its case does not say so yet
    "after-bulk-item",  # the desk: one case of a bulk action is done, the next one not begun
    "after-deadline",  # the desk: one case's deadline was kept, the next one's not yet
]
PLACES: Final[tuple[str, ...]] = get_args(Place)


def chosen() -> str | None:
    """The place that the environment names; raises ``FailpointUnknown`` if there is none such."""
    name = os.environ.get(VARIABLE) or None
    if name is not None and name not in PLACES:
        raise FailpointUnknown(
            f"expected one of {', '.join(PLACES)} in {VARIABLE}, got {name!r}; unset it"
        )
    return name


_CHOSEN: Final = chosen()


def reach(place: Place) -> None:
    """End this process at once if ``RABBITJOBS_FAILPOINT`` names ``place``; else do nothing."""
    if place == _CHOSEN:
        os._exit(EXIT_CODE)

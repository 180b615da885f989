"""How a child tells its supervisor where it stands: lines of JSON on an inherited pipe."""

from __future__ import annotations

import contextlib
import json
import os

from rabbitjobs.events import Bus, ConsumerChanged, Event, WorkerStopping

VARIABLE = "RABBITJOBS_STATUS_FD"
# A line on a pipe is written whole up to 4096 bytes.
REASON_KEPT = 500


def report_state(bus: Bus) -> int | None:
    """Write every change of a subscription to the supervisor's pipe, if there is one.

    Of a process with several, one that does not consume is told of before those that do.
    Returns the pipe: when its other end is gone, so is the supervisor.
    """
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return None
    descriptor = int(number)
    os.set_inheritable(descriptor, False)

    seen: dict[str, ConsumerChanged] = {}

    def tell(event: Event) -> None:
        if isinstance(event, ConsumerChanged):
            seen[event.queue] = event
            worst = next((one for one in seen.values() if one.state != "consuming"), event)
            line = {"state": worst.state, "reason": worst.reason[:REASON_KEPT]}
        elif isinstance(event, WorkerStopping):
            line = {"state": "stopping", "reason": ""}
        else:
            return
        with contextlib.suppress(OSError):  # the supervisor is gone: the worker stops anyway
            os.write(descriptor, json.dumps(line).encode() + b"\n")

    bus.listen(tell, each=False)
    return descriptor

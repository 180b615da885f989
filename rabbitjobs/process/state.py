"""How a child tells its supervisor where it stands: lines of JSON on an inherited pipe."""

from __future__ import annotations

import json
import os

from rabbitjobs.events import Bus, ConsumerChanged, Event, WorkerStopping

VARIABLE = "RABBITJOBS_STATUS_FD"


def report_state(bus: Bus) -> None:
    """Write every change of a subscription to the supervisor's pipe, if there is one."""
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return
    descriptor = int(number)

    def tell(event: Event) -> None:
        if isinstance(event, ConsumerChanged):
            line = {"state": event.state, "reason": event.reason}
        elif isinstance(event, WorkerStopping):
            line = {"state": "stopping", "reason": ""}
        else:
            return
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        except OSError:
            pass  # the supervisor is gone; the signal that follows says so

    bus.listen(tell)

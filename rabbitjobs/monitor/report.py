"""Events to log lines: what a person reading the log of a worker needs, and no more."""

from __future__ import annotations

from typing import Any

import msgspec
import structlog

from rabbitjobs import events

_WARNING = (
    events.JobAbandoned,
    events.JobRetrying,
    events.JobPassedOn,
    events.JobEnded,
    events.LeaseLost,
    events.EndingDelayed,
    events.DeliveryUndecodable,
    events.DeliveryRefused,
)
_QUIET = (
    events.JobStarted,
    events.JobProgress,
    events.JobSucceeded,
    events.JobPutOff,
    events.NoticeHandled,
)
_TEXT: dict[type[events.Event], str] = {
    events.JobRetrying: "job failed, it will be tried again",
    events.JobPassedOn: "job unknown here, passed on for another worker",
    events.JobPutOff: "job put off, its rate or its key is taken",
    events.LeaseLost: "the lease of a running job's key is lost, others may run beside it",
    events.SlotsChanged: "slots follow the backlog",
    events.JobEnded: "job ended without success",
    events.JobStarted: "job started",
    events.JobProgress: "job goes on",
    events.JobSucceeded: "job succeeded",
    events.DuplicateDropped: "duplicate message dropped, its follow-ups were repeated",
    events.DeliveryAdopted: "message delivered again while its job runs here: adopted",
    events.DeliveryUndecodable: "message that cannot be read went to quarantine",
    events.DeliveryRefused: "job refused for its signature, it went to quarantine",
    events.EndingDelayed: "ending waits for the store or the broker; nothing is acked",
    events.JobHandedBack: "job handed back to its queue, it had not started",
    events.JobAbandoned: "job abandoned, it will be delivered again",
    events.WorkerStarted: "worker started",
    events.WorkerStopping: "worker stopping: takes no more, finishes what runs",
    events.WorkerStopped: "worker stopped",
    events.CaseTaken: "review item stored",
    events.NoticeHandled: "notice handled",
}


def report_events(bus: events.Bus, *, every: bool) -> None:
    """Log events from now on; starts and successes of jobs only if ``every`` (debug level).

    Once the worker stops, successes are logged too: the log says what became of each job that ran.
    """
    log = structlog.get_logger("rabbitjobs")
    stopping = False

    def tell(event: events.Event) -> None:
        nonlocal stopping
        if isinstance(event, events.WorkerStopping):
            stopping = True
            bus.want_each(tell, True)
        if isinstance(event, _QUIET) and not every and not stopping:
            return
        if isinstance(event, events.ConsumerChanged):
            _consumer(log, event)
            return
        fields = msgspec.to_builtins(event)
        fields.pop("at", None)
        fields.pop("event", None)
        text = _TEXT.get(type(event), type(event).__name__)
        if isinstance(event, _WARNING):
            log.warning(text, **fields)
        elif isinstance(event, _QUIET) and not stopping:
            log.debug(text, **fields)
        else:
            log.info(text, **fields)

    bus.listen(tell, each=every)


def _consumer(log: Any, event: events.ConsumerChanged) -> None:
    if event.state == "consuming":
        log.info("healthy: consuming", queue=event.queue)
    elif event.state == "stopped":
        log.info("consumer stopped", queue=event.queue)
    else:
        log.error(f"unhealthy: {event.state}", queue=event.queue, reason=event.reason)

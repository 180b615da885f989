"""Everything that can be seen happening: frozen events of plain scalars, and the bus.

Hooks observe and cannot change fate: an error in a listener is reported and nothing else. Logs,
metrics and the live tail only listen. ``at`` is unix seconds; ``seconds`` are durations.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag_field="event"):
    """The root of all events."""

    at: float


class JobEvent(Event, frozen=True, kw_only=True):
    """Something about one attempt of one job."""

    job_id: str
    job: str
    queue: str
    attempt: int


class JobStarted(JobEvent, frozen=True, kw_only=True):
    """An attempt begins; ``redelivered`` if the broker handed the message over before."""

    redelivered: bool = False


class JobProgress(JobEvent, frozen=True, kw_only=True):
    """A running attempt says that ``done`` of ``total`` is done (``None``: of nobody knows what).

    For who wants the events of each job, as starts and successes are.
    """

    done: int | float
    total: int | float | None = None
    note: str = ""


class JobSucceeded(JobEvent, frozen=True, kw_only=True):
    """An attempt succeeded, and its ending is durable."""

    seconds: float


class JobRetrying(JobEvent, frozen=True, kw_only=True):
    """An attempt failed, and the next one is stored on the broker, due after ``delay`` seconds."""

    seconds: float
    delay: float
    error_type: str
    error: str
    rule: str


class JobPassedOn(JobEvent, frozen=True, kw_only=True):
    """This worker does not know the job: the same attempt comes again after ``delay`` seconds."""

    delay: float
    rule: str


class JobPutOff(JobEvent, frozen=True, kw_only=True):
    """A rate or a key (``limit``) was taken: the same attempt comes again after ``delay`` seconds.

    Of a key stands a short digest there, because it is made of arguments. ``waits`` counts how
    often it was put off so far, this time included.
    """

    delay: float
    waits: int
    limit: str


class LeaseLost(JobEvent, frozen=True, kw_only=True):
    """The lease of a running job's key could not be renewed: others of it may run beside it.

    ``key`` is a short digest of it.
    """

    key: str


class JobEnded(JobEvent, frozen=True, kw_only=True):
    """A job ended without success.

    ``status`` is ignored, in-review, quarantined, expired or cancelled.
    """

    seconds: float
    status: str
    error_type: str
    error: str
    rule: str


class DuplicateDropped(JobEvent, frozen=True, kw_only=True):
    """A message whose attempt was recorded before: its follow-ups were repeated, no code ran."""


class DeliveryAdopted(JobEvent, frozen=True, kw_only=True):
    """A message came again while its attempt still runs here: it will be acked by the new tag."""


class DeliveryUndecodable(Event, frozen=True, kw_only=True):
    """A message that cannot be read went to quarantine with its bytes."""

    queue: str
    reason: str


class DeliveryRefused(Event, frozen=True, kw_only=True):
    """A job without a signature that holds went to quarantine; who it says it is, is not proven."""

    queue: str
    job: str
    job_id: str
    reason: str


class EndingDelayed(JobEvent, frozen=True, kw_only=True):
    """The store or the broker does not take the ending yet: nothing is acked, it is tried again."""

    reason: str


class JobHandedBack(JobEvent, frozen=True, kw_only=True):
    """An attempt never started, because the consumer stops: its message is back in the queue."""


class JobAbandoned(JobEvent, frozen=True, kw_only=True):
    """An attempt still ran when the grace of ``seconds`` was over: it will be delivered again."""

    seconds: float


class ConsumerChanged(Event, frozen=True, kw_only=True):
    """A subscription's state: waiting (for a connection), consuming, failed, stopped.

    ``delayed``: it consumes, but its work stands still. ``queue`` is ``store`` or ``outbox`` for
    the upkeep that the intake does, ``control`` for a worker that hears no remote control.
    """

    queue: str
    state: str
    reason: str = ""


class SlotsChanged(Event, frozen=True, kw_only=True):
    """A queue runs ``slots`` jobs at a time in this process now, and not ``before`` as so far.

    ``ready`` messages stood in the queue for ``consumers`` of them; a job took ``job_seconds``.
    """

    queue: str
    slots: int
    before: int
    ready: int
    consumers: int
    job_seconds: float


class WorkerStarted(Event, frozen=True, kw_only=True):
    """A process is about to work."""

    worker: str
    roles: str


class WorkerStopping(Event, frozen=True, kw_only=True):
    """A process takes no more and finishes what runs, for at most ``grace`` seconds."""

    worker: str
    grace: float


class WorkerStopped(Event, frozen=True, kw_only=True):
    """A process is done; ``abandoned`` jobs were still running and will be delivered again."""

    worker: str
    finished: int
    handed_back: int
    abandoned: int


class WorkerWornOut(Event, frozen=True, kw_only=True):
    """A job cannot be ended and was given up: the process stops in order, to be started anew."""

    worker: str
    reason: str


class ProcessEnded(Event, frozen=True, kw_only=True):
    """A supervised process ended by itself; it is started again after ``pause`` seconds.

    ``failures`` counts such ends in a row, each soon after its start: it is looping when they rise.
    ``ending`` is the exit code or signal in words.
    """

    process: str
    ending: str
    failures: int
    pause: float


class ProcessRenewed(Event, frozen=True, kw_only=True):
    """A rolling restart: another process with this name does the work now, the old one stops."""

    process: str


class ProcessNotRenewed(Event, frozen=True, kw_only=True):
    """A rolling restart: the new process did not get to work, so the old one goes on."""

    process: str
    reason: str


class WorkerToldToStop(Event, frozen=True, kw_only=True):
    """Remote control asked this process to end: it stops in order, as by SIGTERM."""

    worker: str
    who: str


class ControlHeard(Event, frozen=True, kw_only=True):
    """A worker did what remote control asked for; ``who`` is what the sender says of itself."""

    worker: str
    command: str
    who: str


class ControlDropped(Event, frozen=True, kw_only=True):
    """What came over the control exchange could not be read, or came late: nothing was changed."""

    worker: str
    reason: str


class CaseTaken(Event, frozen=True, kw_only=True):
    """The review intake stored a case."""

    case_id: str
    job_id: str
    job: str
    queue: str


class NoticeHandled(Event, frozen=True, kw_only=True):
    """The notifier handled one notice: sent, folded into a digest, or dropped as a duplicate."""

    queue: str
    job: str


AnyEvent = (
    JobStarted
    | JobProgress
    | JobSucceeded
    | JobRetrying
    | JobPassedOn
    | JobPutOff
    | LeaseLost
    | JobEnded
    | DuplicateDropped
    | DeliveryAdopted
    | DeliveryUndecodable
    | DeliveryRefused
    | EndingDelayed
    | JobHandedBack
    | JobAbandoned
    | ConsumerChanged
    | SlotsChanged
    | WorkerStarted
    | WorkerStopping
    | WorkerStopped
    | WorkerWornOut
    | ProcessEnded
    | ProcessRenewed
    | ProcessNotRenewed
    | WorkerToldToStop
    | ControlHeard
    | ControlDropped
    | CaseTaken
    | NoticeHandled
)
Listener = Callable[[Event], None]


class Bus:
    """Hands events to listeners, in the thread that emits.

    ``each`` is true while somebody wants start, progress and success of every job: nobody else
    needs those, and building them for each job costs more than the rest of a small job's ending.
    """

    __slots__ = ("_listeners", "each")

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self.each: set[Listener] = set()

    def __bool__(self) -> bool:
        """Whether anybody listens: an event that nobody hears need not be built."""
        return bool(self._listeners)

    def listen(self, listener: Listener, *, each: bool = True) -> None:
        """Call ``listener`` for each event from now on; without ``each`` it can miss those."""
        self._listeners.append(listener)
        self.want_each(listener, each)

    def want_each(self, listener: Listener, wanted: bool) -> None:
        """Whether a listener wants start, progress and success of every job; any thread."""
        if wanted:
            self.each.add(listener)
        else:
            self.each.discard(listener)

    def unlisten(self, listener: Listener) -> None:
        """Call ``listener`` no more; nothing happens if it did not listen."""
        self.each.discard(listener)
        if listener in self._listeners:
            self._listeners.remove(listener)

    def emit(self, event: Event) -> None:
        """Tell every listener; a listener's error is printed, and stops nobody."""
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # an observer must not change the fate of what it observes
                traceback.print_exc(file=sys.stderr)

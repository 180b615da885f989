"""Every error that rabbitjobs raises, in one tree.

Texts read "expected X, got Y; do Z". What an error is about stands in its
attributes (``queue``, ``job``, ``job_id``), so that a program never has to
parse the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


class RabbitJobsError(Exception):
    """The root of the tree: catch it to catch everything of ours.

    ``queue``, ``job`` (the registered name) and ``job_id`` say what the error
    is about; each is ``None`` where it does not apply.
    """

    def __init__(
        self,
        text: str,
        *,
        queue: str | None = None,
        job: str | None = None,
        job_id: str | None = None,
    ) -> None:
        self.text = text
        self.queue = queue
        self.job = job
        self.job_id = job_id
        super().__init__(text)

    def concerning(
        self, *, queue: str | None = None, job: str | None = None, job_id: str | None = None
    ) -> Self:
        """The same error, with what it did not know yet of what it is about."""
        self.queue = self.queue or queue
        self.job = self.job or job
        self.job_id = self.job_id or job_id
        return self

    def __str__(self) -> str:
        about = [
            f"{label} {value}"
            for label, value in (("job", self.job), ("queue", self.queue), ("id", self.job_id))
            if value is not None
        ]
        return f"{self.text} ({', '.join(about)})" if about else self.text


# --- configuration -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a config file.

    ``path`` is the place inside the document (``queues.emails.retry``);
    ``line`` counts from 1 and is 0 where no line is known.
    """

    file: str
    line: int
    path: str
    expected: str
    got: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}: expected {self.expected}, got {self.got}"


class ConfigError(RabbitJobsError):
    """The configuration is wrong; ``problems`` holds every fault found, not just the first."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class RegistrationError(RabbitJobsError):
    """A job cannot be registered as asked (a name taken twice, a signature that cannot be sent)."""


class FailpointUnknown(RabbitJobsError):
    """``RABBITJOBS_FAILPOINT`` names no place where a process can be ended for a test."""


class AppNotFound(RabbitJobsError):
    """The app that a command needs was not found or could not be imported."""


# --- topology ------------------------------------------------------------------------------


class TopologyError(RabbitJobsError):
    """What the config asks for and what the broker holds or can hold differ."""


class TopologyRefused(TopologyError):
    """Applying would break something: the text says what, and what to do instead."""


class TopologyMismatch(TopologyError):
    """The live topology is not the config's; a worker refuses to attach."""


# --- broker --------------------------------------------------------------------------------


class BrokerError(RabbitJobsError):
    """Something about the broker itself."""


class NodeError(BrokerError):
    """A private RabbitMQ node cannot be found, started or stopped."""


class ManagementError(BrokerError):
    """The management HTTP API refused a request or cannot be reached; ``status`` is 0 if so."""

    def __init__(self, text: str, *, status: int = 0) -> None:
        self.status = status
        super().__init__(text)


class ConnectionLost(BrokerError):
    """The connection to the broker broke or could not be made."""


class ChannelClosed(BrokerError):
    """The broker closed a channel; ``code`` is its reply code (404, 406, ...)."""

    def __init__(self, text: str, *, code: int = 0, queue: str | None = None) -> None:
        self.code = code
        super().__init__(text, queue=queue)


class UrlRefused(BrokerError):
    """A broker URL carries an unknown or unsafe option."""


# --- messages ------------------------------------------------------------------------------


class MessageError(RabbitJobsError):
    """Something about one message."""


class ArgumentsRefused(MessageError):
    """The arguments do not fit the job's signature or types; nothing was sent or run.

    ``faults`` says what is wrong by the name of the parameter, or by the place in the body
    (``kwargs.to``), as far as the fault is one of a single argument.
    """

    def __init__(self, text: str, *, faults: Mapping[str, str] | None = None, **about: Any) -> None:
        super().__init__(text, **about)
        self.faults: Mapping[str, str] = faults or {}


class Undecodable(MessageError):
    """A message that cannot be read: it ends in quarantine with its raw bytes."""


class SignatureRefused(MessageError):
    """A job whose signature is missing or does not hold: it ends in quarantine and never runs."""


class UnknownJob(MessageError):
    """No job of this name is registered here."""


# --- publishing ----------------------------------------------------------------------------


class SendError(RabbitJobsError):
    """A job was not sent, or it is unknown whether it was."""


class SendRejected(SendError):
    """The broker or we ourselves refused it: it is certain that nothing is stored."""


class Unroutable(SendRejected):
    """No queue is bound for this job: the topology was not applied, or the queue is not in it."""


class QueueFull(SendRejected):
    """The queue has reached its length limit and refused the message (a nack)."""


class TooLarge(SendRejected):
    """The body is larger than the limit; it was refused before anything was sent."""


class SendRefused(SendRejected):
    """The broker closed the channel on this message: no permission, no exchange, bad properties."""


class BrokerUnavailable(SendRejected):
    """No connection within the deadline: nothing was written to any broker."""


class AccessRefused(BrokerUnavailable, ConnectionLost):
    """The broker does not let the user in, or not into the vhost: nothing was written.

    The text names user and vhost, never the password. It is tried again all the same: rights can
    be given while a service runs.
    """


class BrokerBlocked(SendRejected):
    """A memory or disk alarm blocks publishing; the deadline passed before anything was written."""


class SendUnknown(SendError):
    """No confirm within the deadline: it may be stored or not. Send again with the same ``id=``."""


class SyncInAsync(SendError):
    """A blocking call inside a running event loop: use the a-twin (``asend``, ``aresult``)."""


# --- results -------------------------------------------------------------------------------


class ResultError(RabbitJobsError):
    """There is no result to hand out."""


class ResultTimeout(ResultError, TimeoutError):
    """The job has not ended within the timeout; it may still end."""


class NoResult(ResultError):
    """The job ended, but keeps no result, or its result has expired."""


class ResultIgnored(NoResult):
    """The job was registered with ``ignore_result=True``: no result will ever come."""


class JobFailed(ResultError):
    """The job ended without success.

    ``state`` is the final state, ``error_type`` the dotted name of the
    exception's class, ``error`` its message, ``traceback`` text. All are plain
    data: nothing is ever rebuilt by import.
    """

    def __init__(
        self,
        text: str,
        *,
        state: str,
        error_type: str | None = None,
        error: str | None = None,
        traceback: str | None = None,
        queue: str | None = None,
        job: str | None = None,
        job_id: str | None = None,
    ) -> None:
        self.state = state
        self.error_type = error_type
        self.error = error
        self.traceback = traceback
        super().__init__(text, queue=queue, job=job, job_id=job_id)


# --- remote control ------------------------------------------------------------------------


class ControlError(RabbitJobsError):
    """Workers could not be asked, or a job could not be cancelled."""


class CancelRefused(ControlError):
    """This cannot be cancelled; nothing was written."""


class ControlRefused(ControlError):
    """A worker does not do what it was asked, or the broker lets this account ask nobody."""


# --- store and desk ------------------------------------------------------------------------


class StoreError(RabbitJobsError):
    """The SQL store cannot be used."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or cannot write: nothing is acked until it can."""


class StoreMissing(StoreError):
    """There is no store where one was to be read: nobody has written to it, or the URL is wrong."""


class StoreOutdated(StoreError):
    """The store's schema is older or newer than this release: run ``rabbitjobs store migrate``."""


class StoreRefused(StoreError):
    """The store is there and refuses what one attempt would record: trying again does not help."""


class DeskError(RabbitJobsError):
    """The review desk refused an action."""


class CaseNotFound(DeskError):
    """No case has this id."""


class CaseChanged(DeskError):
    """Somebody else acted on the case first; the text says what changed."""


class ActionRefused(DeskError):
    """The action is not allowed in the case's state, or while somebody else holds the case."""


class NotAllowed(DeskError):
    """This person may not do that, or not with a case of that queue or job."""


class BulkNotFound(DeskError):
    """No bulk action has this id."""


class TokenNotFound(DeskError):
    """No token of the HTTP API has this id, or it is another's."""


# --- web -----------------------------------------------------------------------------------


class WebRefused(RabbitJobsError):
    """The web pages cannot be served as asked: the text says what is not safe, and what to do."""


# --- notifications -------------------------------------------------------------------------


class NotifyError(RabbitJobsError):
    """A notification could not be handed on."""


class NotifyUnavailable(NotifyError):
    """A channel did not take it for now: the note stays in the queue and is told later."""


class NotifyRefused(NotifyError):
    """It can never be delivered: the URL is not allowed, or its receiver refused it for good."""


# --- worker --------------------------------------------------------------------------------


class WorkerError(RabbitJobsError):
    """A worker process cannot start or go on."""


class SoftTimeLimit(WorkerError, TimeoutError):
    """Raised in a job that runs longer than its soft limit, so that it can clean up and end.

    What the job makes of it is its ending: one that lets it pass has failed with it, and failure
    rules decide. Work that goes on meets the hard limit.
    """

    # It can be made without a word: the interpreter does so when it raises it in another thread.
    def __init__(
        self, text: str = "expected the job to end within its soft limit, got one that still runs"
    ) -> None:
        super().__init__(text)


class HardTimeLimit(WorkerError, TimeoutError):
    """A job was ended by force, because it ran longer than its hard limit; failure rules decide.

    The job itself never sees it.
    """


class ChildDied(WorkerError):
    """The process that ran a job died with it: killed, crashed, or out of memory.

    The text names the signal or the exit code. The job itself never sees it.
    """

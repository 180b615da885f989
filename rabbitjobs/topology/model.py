"""The topology that a config file asks for, as frozen values: what is wanted, not how."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from rabbitjobs.policy.rate import Rate
from rabbitjobs.policy.rules import RetryPolicy as RetryPolicy
from rabbitjobs.topology import names

Action = Literal["retry", "ignore", "review", "notify"]
Loss = Literal["classic-queue", "two-priorities", "consumer-timeout"]

ACTIONS: Final[tuple[Action, ...]] = ("retry", "ignore", "review", "notify")
LOSSES: Final[Mapping[Loss, str]] = {
    "classic-queue": "a classic queue: one copy only, dead letters at most once, no delivery limit",
    "two-priorities": "only two priorities are told apart, mixed 2:1",
    "consumer-timeout": "no consumer timeout of its own: the node's holds "
    "(consumer_timeout in its rabbitmq.conf, in milliseconds; 30 minutes unless set)",
}
NEUTRAL_PRIORITY: Final = 4
"""The number that quorum queues take a message without priority for; so it is the default's."""
DEFAULT_RETRY: Final = "default"
DEFAULT_CONCURRENCY: Final = 10
DEFAULT_DELIVERY_LIMIT: Final = 20
DEFAULT_IGNORED_LENGTH: Final = 100_000
DEFAULT_IGNORED_KEEP: Final = timedelta(days=30)
NODES_TIMEOUT: Final = timedelta(minutes=30)
"""The consumer timeout of a RabbitMQ whose configuration says nothing else."""
LEAST_LONGEST: Final = timedelta(minutes=15)
"""No `TopologySpec.longest_delay` is below it: jobs are put off for up to 10.5 minutes."""
ENDING_TIME: Final = timedelta(minutes=1)
"""What a job gets beyond its time limit to have its ending stored and published."""


class RuleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One failure rule of a queue: which errors meet which decision.

    ``errors`` are dotted class names, or ``"*"`` for every error; they are only ever compared as
    text. ``retry`` names a policy other than the queue's (``do: retry`` only). ``then`` is what
    follows a notice (``do: notify`` only; ``None`` means review). ``keep=0`` keeps no record of
    what is ignored (``do: ignore`` only; ``None`` means as the queue says).
    """

    errors: tuple[str, ...]
    do: Action
    retry: str | None = None
    then: Action | None = None
    keep: int | None = None
    line: int = 0


class QueueSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One work queue.

    ``priorities`` run from low to high; jobs that ask for none get ``default_priority``.
    ``concurrency`` counts slots in each consumer process, ``prefetch`` the messages that it holds
    at most (``None``: one for each slot). ``retry`` names a policy (``None``:
    the one called "default"). ``review_own`` gives the queue a review queue of its own.
    ``ignored_keep=0`` keeps no record of ignored jobs. ``delivery_limit`` N means N+1 deliveries
    that end in a crash, then review. ``time_limit`` says how long one run of a job may take: it
    ends no job, but the broker gives a job at least so long before it takes it back. A
    ``consumer_timeout`` of ``None`` follows from the time limit, or else is the broker's own.
    ``accept`` names losses that older brokers may cost. ``processes`` is how many of them
    ``rabbitjobs run`` starts for it. ``pool`` is where jobs run that name none
    (``None``: coroutines on the loop, others on threads). Of pool processes there are ``children``
    (``None``: as many as slots, and at most one for each CPU), each replaced after
    ``max_jobs_per_child`` jobs or with more than ``max_memory_per_child`` bytes. ``rate`` is how
    often a job of the queue starts at most. With a ``least_concurrency`` the slots follow the
    backlog, between it and ``concurrency``. Lines are 0 without a file.
    """

    name: str
    priorities: tuple[str, ...] = ()
    default_priority: str | None = None
    concurrency: int = DEFAULT_CONCURRENCY
    prefetch: int | None = None
    retry: str | None = None
    rules: tuple[RuleSpec, ...] = ()
    max_length: int | None = None
    message_ttl: timedelta | None = None
    ordered: bool = False
    review_own: bool = False
    ignored_keep: int | None = None
    delivery_limit: int = DEFAULT_DELIVERY_LIMIT
    time_limit: timedelta | None = None
    consumer_timeout: timedelta | None = None
    accept: tuple[str, ...] = ()
    processes: int = 1
    pool: str | None = None
    pool_line: int = 0
    children: int | None = None
    max_jobs_per_child: int | None = None
    max_memory_per_child: int | None = None
    rate: Rate | None = None
    least_concurrency: int | None = None
    line: int = 0

    @property
    def wanted_timeout(self) -> timedelta | None:
        """The consumer timeout that this queue needs; ``None``: the broker's own will do."""
        if self.consumer_timeout is not None or self.time_limit is None:
            return self.consumer_timeout
        return self.time_limit + ENDING_TIME

    @property
    def usual_priority(self) -> str | None:
        """The priority of jobs that ask for none: as configured, else "normal", else the middle."""
        if self.default_priority or not self.priorities:
            return self.default_priority
        middle = min((len(self.priorities) - 1) // 2, NEUTRAL_PRIORITY)
        return "normal" if "normal" in self.priorities else self.priorities[middle]


class RawExchange(msgspec.Struct, frozen=True, kw_only=True):
    """An exchange under its literal name, durable; rabbitjobs declares it and does nothing else."""

    name: str
    type: str = "topic"
    internal: bool = False
    arguments: Mapping[str, Any] = {}
    line: int = 0


class RawQueue(msgspec.Struct, frozen=True, kw_only=True):
    """A queue under its literal name, durable; ``type`` is quorum, classic or stream."""

    name: str
    type: str = "quorum"
    arguments: Mapping[str, Any] = {}
    line: int = 0


class RawBinding(msgspec.Struct, frozen=True, kw_only=True):
    """A binding between literal names; ``to_exchange`` tells an exchange from a queue."""

    source: str
    destination: str
    to_exchange: bool = False
    routing_key: str = ""
    arguments: Mapping[str, Any] = {}
    line: int = 0


class TopologySpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one config file asks for.

    ``retry`` always holds the policy called "default". No job waits for longer than
    ``longest_delay``, which decides how many levels the delay ladder has. ``ignored_length`` and
    ``ignored_ttl`` bound the window of ignored jobs kept on the broker. ``file`` is "" without a
    file, ``namespace_line`` the line there that names the namespace.
    """

    namespace: str
    queues: Mapping[str, QueueSpec]
    retry: Mapping[str, RetryPolicy]
    longest_delay: timedelta = names.LONGEST
    exchanges: tuple[RawExchange, ...] = ()
    raw_queues: tuple[RawQueue, ...] = ()
    bindings: tuple[RawBinding, ...] = ()
    ignored_length: int = DEFAULT_IGNORED_LENGTH
    ignored_ttl: timedelta = DEFAULT_IGNORED_KEEP
    file: str = ""
    namespace_line: int = 0

    @property
    def levels(self) -> int:
        """How many levels of the delay ladder it takes to wait for the longest delay."""
        return math.ceil(self.longest_delay / timedelta(seconds=1)).bit_length()

    def policy_of(self, queue: str) -> RetryPolicy:
        """The retry policy that holds for ``queue`` where no rule and no job names another."""
        return self.retry[self.queues[queue].retry or DEFAULT_RETRY]

    def policies_of(self, queue: str) -> tuple[RetryPolicy, ...]:
        """Every retry policy that the config names for ``queue``: its own, then its rules'."""
        spec = self.queues[queue]
        named = [spec.retry or DEFAULT_RETRY, *(rule.retry for rule in spec.rules if rule.retry)]
        return tuple(self.retry[name] for name in dict.fromkeys(named))

    def steps_of(self, queue: str) -> tuple[timedelta, ...]:
        """The delays, shortest first, that have a retry queue of their own for ``queue``."""
        return exact_steps(self.policies_of(queue))

    def where(self, line: int) -> str:
        """``file:line`` for texts, or the empty string where there is no file."""
        return f"{self.file}:{line}" if self.file and line else self.file


@lru_cache(maxsize=1024)
def exact_steps(policies: tuple[RetryPolicy, ...]) -> tuple[timedelta, ...]:
    """The distinct delays of ``policies``, shortest first; jittered ones are never exact."""
    exact = {delay for policy in policies if not policy.jitter for delay in policy.delays}
    return tuple(sorted(exact))


def default_retry() -> RetryPolicy:
    """The policy of whoever names none: five attempts, after 5 s, 20 s, 80 s and 320 s."""
    return RetryPolicy(
        name=DEFAULT_RETRY,
        attempts=5,
        delays=tuple(timedelta(seconds=5 * 4**step) for step in range(4)),
    )


def default_spec(
    namespace: str = "rabbitjobs", queues: Iterable[str] = ("default",)
) -> TopologySpec:
    """A topology without any file: plain work queues, the default retries, then review.

    Raises `ConfigError` when a name cannot be used on the broker.
    """
    names.check_namespace(namespace)
    listed = tuple(queues)
    for queue in listed:
        names.check_queue(namespace, queue)
    return TopologySpec(
        namespace=namespace,
        queues={queue: QueueSpec(name=queue) for queue in listed},
        retry={DEFAULT_RETRY: default_retry()},
    )

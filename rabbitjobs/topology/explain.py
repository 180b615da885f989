"""What happens to a message on a queue, in words, for every case: pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

import msgspec

from rabbitjobs.clock import format_duration
from rabbitjobs.errors import Unroutable
from rabbitjobs.policy.rules import RetryPolicy
from rabbitjobs.topology import names, routes
from rabbitjobs.topology.model import LOSSES, QueueSpec, RuleSpec
from rabbitjobs.topology.plan import Plan, losses
from rabbitjobs.topology.policies import is_classic


class Case(msgspec.Struct, frozen=True):
    """One thing that can happen, and what then does happen."""

    name: str
    text: str


def explain(plan: Plan, queue: str) -> tuple[Case, ...]:
    """Every case for ``queue`` (its name in the config) on the broker of ``plan``.

    Raises `Unroutable` for a queue that the topology lacks.
    """
    found = plan.spec.queues.get(queue)
    if found is None:
        listed = ", ".join(plan.spec.queues)
        raise Unroutable(f"expected one of the queues {listed}, got {queue!r}", queue=queue)
    words = _Words(plan, found)
    cases = (*words.coming_in(), *words.at_work(), *words.failing(), *words.broker())
    return tuple(Case(name, " ".join(text.split())) for name, text in cases if text)


class _Words:
    def __init__(self, plan: Plan, queue: QueueSpec) -> None:
        self._plan = plan
        self._spec = plan.spec
        self._queue = queue
        self._ns = plan.spec.namespace
        self._classic = is_classic(queue, plan.capabilities)
        self._work = names.work_queue(self._ns, queue.name)
        own = queue.name if queue.review_own else None
        self._review = names.review_queue(self._ns, own)

    def coming_in(self) -> Iterable[tuple[str, str]]:
        kind = "classic" if self._classic else "quorum"
        jobs = names.jobs_exchange(self._ns)
        yield (
            "sent",
            f"Published persistent, mandatory and confirmed to the exchange {jobs} with the key "
            f"{self._queue.name}, into the {kind} queue {self._work}. The sender knows that it is "
            "stored when send() returns.",
        )
        yield (
            "unroutable",
            f"{jobs} has no alternate exchange, so a job without a queue comes back and send() "
            "raises Unroutable. Nothing is stored.",
        )
        yield "full", self._full()
        yield "priority", self._priority()
        yield "delayed", self._delayed()
        yield "its queue is gone when a delay ends", self._gone()

    def at_work(self) -> Iterable[tuple[str, str]]:
        slots = self._queue.concurrency
        sent = max(self._queue.prefetch or 0, slots)
        held = "no more than that" if sent == slots else f"{sent} at most: the others wait there"
        order = (
            "One consumer at a time gets them (single active consumer), one after the other, in "
            "the order of sending; only a job that is retried or delayed comes later than its "
            "successors."
            if self._queue.ordered
            else "Their order is not promised."
        )
        least = self._queue.least_concurrency
        many = f"{slots}" if least is None else f"{least} to {slots}, as the backlog asks,"
        yield (
            "taken",
            f"Each consumer process works on {many} at a time and is sent {held} (prefetch). "
            f"{order}",
        )
        if self._queue.rate is not None:
            yield (
                "over its rate",
                f"No more than {self._queue.rate} start. A job that has to wait for that takes no "
                "slot: after 2.5 s it is published to the delay ladder, and then acked. It is the "
                "same attempt when it comes back.",
            )
        yield (
            "success",
            "The outcome is stored, what follows is published and confirmed, and only then is the "
            "job acked. If the worker dies before the ack, the job runs once more.",
        )
        yield "takes too long", self._timeout()

    def failing(self) -> Iterable[tuple[str, str]]:
        for number, rule in enumerate(self._queue.rules, start=1):
            yield f"failure, rule {number} ({', '.join(rule.errors)})", self._rule(rule)
        policy = self._spec.policy_of(self._queue.name)
        yield "failure, no rule says anything", f"{self._retry(policy)} Then review."
        yield (
            "review",
            f"Published to {names.fail_exchange(self._ns)} into {self._review}, where the desk's "
            "intake fetches it. It has no limit, no lifetime and no delivery limit: it waits until "
            "a person decides.",
        )
        yield "ignored", self._ignored()
        yield (
            "notified",
            f"A notice goes to {names.notify_queue(self._ns)} beside what else the rule says.",
        )
        yield (
            "cannot be read, or nobody knows the job",
            f"Undecodable messages go to {names.quarantine_queue(self._ns)} with their raw bytes. "
            "An unknown job is first tried again a few times with a delay (a rolling deploy may "
            "know it soon), then goes there too; with signing, so do jobs without a valid "
            "signature. Wrong arguments go to review.",
        )

    def broker(self) -> Iterable[tuple[str, str]]:
        yield "its worker dies", self._crash()
        yield "lives too long in the queue", self._expired()
        yield (
            "expires= has passed",
            "The job is ended as expired when a worker takes it; it does not run.",
        )
        lost = losses(self._queue, self._plan.capabilities)
        version = self._plan.capabilities.version
        accepted = "; ".join(f"{loss}: {LOSSES[loss]}" for loss in lost)
        yield "what this broker costs", accepted and f"On RabbitMQ {version}: {accepted}."

    def _full(self) -> str:
        if self._queue.max_length is None:
            return (
                "It has no length limit. When the broker runs out of memory or disk, it blocks all "
                "publishers, and send() raises BrokerBlocked after its deadline."
            )
        return f"""At about {self._queue.max_length} waiting jobs (max-length; the limit is soft)
            the broker refuses more (overflow: reject-publish) and send() raises QueueFull; nothing
            that was confirmed is dropped. Retries and delayed jobs that fall due meanwhile wait in
            {self._queue_names("retry")} and {names.landing_queue(self._ns, self._queue.name)};
            RabbitMQ offers them again every 3 minutes, so they come late and are not lost."""

    def _queue_names(self, role: str) -> str:
        found = [q.name for q in self._plan.queues if q.role == role and q.of == self._queue.name]
        return ", ".join(found) or f"{self._ns}.delay.*"

    def _priority(self) -> str:
        order = self._queue.priorities
        if not order:
            return ""
        number = {n: routes.priority_number(self._spec, self._queue.name, n) for n in order}
        shown = ", ".join(f"{name} = {number[name]}" for name in reversed(order))
        levels = self._plan.capabilities.priority_levels
        how = {
            0: "a classic queue serves the highest first",
            2: "this version tells only two levels apart (above 4, and the rest), mixes them 2:1, "
            "and lets a low one in a retry queue wait up to one more delay behind a high one",
        }.get(levels, "the highest first, strictly: a low one waits as long as there are higher")
        return f"{shown}; without a wish: {self._queue.usual_priority}. Here, {how}."

    def _delayed(self) -> str:
        steps = self._spec.steps_of(self._queue.name)
        exact = ", ".join(format_duration(step) for step in steps)
        exactly = f"Exactly {exact}: a queue of its own each, with that lifetime." if exact else ""
        longest = format_duration(self._spec.longest_delay)
        return f"""Published to {names.delay_exchange(self._ns)}. {exactly} Any other delay, rounded
            up to whole seconds and up to {longest}: the ladder of {self._spec.levels} queues with
            lifetimes of 1 s, 2 s, 4 s and so on. Each dead-letters at least once to the next, and
            at the end by {names.deliver_exchange(self._ns)} into {self._work}."""

    def _gone(self) -> str:
        return f"""The alternate of {names.deliver_exchange(self._ns)} leads to
            {names.undeliverable_queue(self._ns)}, where it stays."""

    def _timeout(self) -> str:
        timeout = self._queue.wanted_timeout
        where = self._plan.capabilities
        if timeout is None or where.consumer_timeout == "node":
            limit = "after the node's consumer timeout (30 minutes unless configured)"
        else:
            limit = f"after {format_duration(timeout)} without an ack (consumer-timeout)"
        if where.timeout_cancels:
            how = "takes that one job back, uncounted, and cancels the consumer, which comes back"
        else:
            how = "closes the consumer's channel and takes back, and counts, all that it holds"
        return f"The broker {limit} {how}. The job may then run twice."

    def _crash(self) -> str:
        if self._classic:
            return (
                "The job comes back and is tried again without end: a classic queue knows no "
                "delivery limit, and on this version priorities need a classic queue."
            )
        limit = self._queue.delivery_limit
        handed = (
            "Jobs handed back at a restart count too, so a rolling deploy uses some of them; so do "
            "jobs that outlast the grace of a stopping worker."
            if self._plan.capabilities.handback_counts
            else "Jobs handed back in order at a restart do not count; those that outlast the "
            "grace of a stopping worker do."
        )
        return f"""The job comes back and is tried again. After {limit + 1} deliveries
            (delivery-limit {limit}) the broker itself dead-letters it at least once to
            {names.fail_exchange(self._ns)} into {self._review}, with the reason delivery_limit.
            {handed}"""

    def _expired(self) -> str:
        if self._queue.message_ttl is None:
            return "Jobs wait as long as it takes (no message-ttl)."
        how = "at most once" if self._classic else "at least once"
        ttl = format_duration(self._queue.message_ttl)
        return f"""After {ttl} of waiting (message-ttl) the broker dead-letters it {how} into
            {self._review}, with the reason expired."""

    def _rule(self, rule: RuleSpec) -> str:
        match rule.do:
            case "retry":
                named = rule.retry or self._queue.retry
                policy = self._spec.retry[named] if named else self._default()
                return f"{self._retry(policy)} Then the next rule that fits decides, else review."
            case "ignore":
                return "Ended here. " + self._ignored(rule.keep)
            case "review":
                return f"To {self._review} at once."
            case "notify":
                follows = {
                    "retry": f"then {self._retry(self._default())}",
                    "ignore": "then ignored",
                }
                return f"Somebody is told, {follows.get(rule.then or 'review', 'then review')}."

    def _default(self) -> RetryPolicy:
        return self._spec.policy_of(self._queue.name)

    def _retry(self, policy: RetryPolicy) -> str:
        if not policy.delays:
            return f'No retry (policy "{policy.name}": one attempt).'
        delays = _shown(policy.delays)
        by = (
            f"each spread by up to {policy.jitter:.0%} and sent by the ladder in whole seconds"
            if policy.jitter
            else "each through a retry queue of its own, exact to the millisecond"
        )
        return f"""Retry policy "{policy.name}": {policy.attempts} attempts in all, after {delays},
            {by}; published anew and confirmed before the old message is acked."""

    def _ignored(self, keep: int | None = None) -> str:
        if keep == 0 or (keep is None and self._queue.ignored_keep == 0):
            return "No record is kept of it (keep: 0)."
        length, ttl = self._spec.ignored_length, format_duration(self._spec.ignored_ttl)
        return f"""A record goes to the store, and a copy to {names.ignored_queue(self._ns)}, a
            window of the last {length} or {ttl}, whichever is less."""


def _shown(delays: tuple[timedelta, ...]) -> str:
    texts = [format_duration(delay) for delay in delays]
    if len(texts) > 8:
        texts = [*texts[:6], "...", texts[-1]]
    return ", ".join(texts)

"""Failure in, decision out: no I/O, the chance for jitter is passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from rabbitjobs.policy.decision import Decision, Failure
from rabbitjobs.policy.rules import RetryPolicy, Rule

# During a rolling deploy a worker may meet a job that only the next release knows.
UNKNOWN_JOB_DELAYS = (5.0, 30.0, 120.0)


class RuleBook(msgspec.Struct, frozen=True, kw_only=True):
    """The rules for one job on one queue, and the retry policies that they name.

    ``own_retry`` is the policy of the job, or else of the queue: the default decision.
    ``longest_delay`` is what the delay ladder can hold, in seconds.
    """

    job_rules: Sequence[Rule] = ()
    queue_rules: Sequence[Rule] = ()
    policies: Mapping[str, RetryPolicy]
    own_retry: str
    longest_delay: float


def decide(
    failure: Failure,
    attempt: int,
    book: RuleBook,
    chance: Callable[[], float],
    *,
    unknown: int = 0,
) -> Decision:
    """What is done with a failed attempt.

    ``attempt`` counts from 1, ``unknown`` how often workers without the job have passed it on
    before: its attempts are not used up by that. ``chance`` gives a number from 0 to 1 for the
    jitter. A signal raised by the job comes first, then the job's rules, then the queue's, then
    the default: retry by the job's or queue's policy, and review when its attempts are used up. A
    retry rule whose attempts are used up lets the next matching rule decide.
    """
    match failure.kind:
        case "undecodable":
            return Decision(do="quarantine", rule="the message cannot be read")
        case "unknown-job":
            return _unknown_job(unknown)
        case "expired":
            return Decision(do="expire", rule="it came after its expiry")
        case "cancelled":
            return Decision(do="cancel", rule=failure.error)
        case "arguments":
            return Decision(do="review", rule="the arguments do not fit the job")
        case "approval":
            return Decision(do="review", rule="the job needs a person's yes before it runs")
        case "crash":
            return _crash(attempt, book, chance)
        case "signal":
            return _signal(failure, attempt, book, chance)
        case _:
            return _by_rules(failure, attempt, book, chance)


def _unknown_job(unknown: int) -> Decision:
    if unknown < len(UNKNOWN_JOB_DELAYS):
        return Decision(
            do="retry",
            rule="unknown job: another worker may know it",
            delay=UNKNOWN_JOB_DELAYS[unknown],
            counts=False,
        )
    return Decision(do="quarantine", rule="no worker knows the job")


def _crash(attempt: int, book: RuleBook, chance: Callable[[], float]) -> Decision:
    """As the broker does with a job whose worker died: again, and then to a person.

    No rule decides: one that ignores errors of the job would hide what kills processes.
    """
    again = _carry(Rule(do="retry", source="its process died"), attempt, book, chance)
    if again is not None:
        return again
    used = _used(book.policies[book.own_retry])
    return Decision(do="review", rule=f"its process died, and all {used}")


def _signal(
    failure: Failure, attempt: int, book: RuleBook, chance: Callable[[], float]
) -> Decision:
    if failure.signal == "ignore":
        return Decision(do="ignore", rule="the job raised Ignore")
    if failure.signal == "review":
        return Decision(do="review", rule="the job raised Review")
    policy = book.policies[book.own_retry]
    if attempt >= policy.attempts:
        return Decision(do="review", rule=f"the job raised Retry, and all {_used(policy)}")
    if failure.delay is not None:
        if failure.delay > book.longest_delay:  # cut short, it would run before its time
            return Decision(do="review", rule=_too_far(failure.delay, book))
        delay = max(failure.delay, 0.0)
        return Decision(do="retry", rule="the job raised Retry", delay=delay)
    delay = _delay(policy, attempt, book, chance)
    return Decision(do="retry", rule="the job raised Retry", delay=delay)


def _by_rules(
    failure: Failure, attempt: int, book: RuleBook, chance: Callable[[], float]
) -> Decision:
    for rule in (*book.job_rules, *book.queue_rules):
        if rule.matches(failure.classes):
            decision = _carry(rule, attempt, book, chance)
            if decision is not None:
                return decision
    decision = _carry(Rule(do="retry", source="default"), attempt, book, chance)
    if decision is not None:
        return decision
    policy = book.policies[book.own_retry]
    return Decision(do="review", rule=f"default: all {_used(policy)}")


def _carry(
    rule: Rule, attempt: int, book: RuleBook, chance: Callable[[], float]
) -> Decision | None:
    """What one matching rule says; ``None`` when its retries are used up."""
    name = rule.source or rule.do
    if rule.do == "ignore":
        return Decision(do="ignore", rule=name, keep=rule.keep)
    if rule.do == "review":
        return Decision(do="review", rule=name)
    if rule.do == "retry":
        policy = book.policies[rule.policy or book.own_retry]
        if attempt >= policy.attempts:
            return None
        return Decision(do="retry", rule=name, delay=_delay(policy, attempt, book, chance))
    then = rule.then or Rule(do="review")
    following = _carry(then, attempt, book, chance)
    if following is None:
        following = Decision(do="review", rule=name)
    return msgspec.structs.replace(following, rule=name, notify=True)


def _delay(policy: RetryPolicy, attempt: int, book: RuleBook, chance: Callable[[], float]) -> float:
    seconds = policy.delays[attempt - 1].total_seconds()
    if not policy.jitter:
        return seconds
    return min(seconds * (1 + policy.jitter * (2 * chance() - 1)), book.longest_delay)


def _too_far(delay: float, book: RuleBook) -> str:
    return (
        f"the job raised Retry with a delay of {delay:.10g} s, and the longest that the topology "
        f"allows is {book.longest_delay:.10g} s"
    )


def _used(policy: RetryPolicy) -> str:
    return f"{policy.attempts} attempts of retry policy {policy.name!r} are used up"

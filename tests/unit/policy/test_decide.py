"""Failure in, decision out: each row of the rules, by tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.policy import rules
from rabbitjobs.policy.decide import UNKNOWN_JOB_DELAYS, RuleBook, decide
from rabbitjobs.policy.decision import Decision, Failure, FailureKind
from rabbitjobs.policy.rules import RetryPolicy, Rule, class_names, error_names


def policy(name: str, *seconds: float, jitter: float = 0.0) -> RetryPolicy:
    """A policy with these delays."""
    delays = tuple(timedelta(seconds=each) for each in seconds)
    return RetryPolicy(name=name, attempts=len(delays) + 1, delays=delays, jitter=jitter)


LONGEST = 3600.0
POLICIES = {
    one.name: one
    for one in (
        policy("default", 5, 20),
        policy("quick", 1),
        policy("never"),
        policy("shaky", 10, jitter=0.5),
        policy("patient", LONGEST, jitter=1.0),
    )
}
KEY_ERROR = class_names(KeyError)


def failure(kind: FailureKind = "error", **changes: object) -> Failure:
    """A KeyError, unless said otherwise."""
    values: dict[str, object] = {"error_type": "KeyError", "error": "'x'", "classes": KEY_ERROR}
    return Failure(kind=kind, **(values | changes))  # type: ignore[arg-type]


def rule_book(
    *, job_rules: Sequence[Rule] = (), queue_rules: Sequence[Rule] = (), own_retry: str = "default"
) -> RuleBook:
    """The policies of these tests, on a ladder that ends after an hour."""
    return RuleBook(
        job_rules=job_rules,
        queue_rules=queue_rules,
        policies=POLICIES,
        own_retry=own_retry,
        longest_delay=LONGEST,
    )


def decided(
    wrong: Failure,
    attempt: int = 1,
    *,
    job: Sequence[Rule] = (),
    queue: Sequence[Rule] = (),
    own: str = "default",
    chance: float = 0.5,
) -> tuple[str, float | None, bool]:
    """What is done, after which delay, and whether people are told."""
    book = rule_book(job_rules=job, queue_rules=queue, own_retry=own)
    decision = decide(wrong, attempt, book, lambda: chance)
    assert decision.rule
    assert (decision.delay is not None) == (decision.do == "retry")
    return decision.do, decision.delay, decision.notify


@pytest.mark.parametrize(
    ("kind", "attempt", "done", "delay"),
    [
        ("undecodable", 1, "quarantine", None),
        ("expired", 1, "expire", None),
        ("arguments", 1, "review", None),
        ("approval", 1, "review", None),
        ("approval", 9, "review", None),
        ("crash", 1, "retry", 5.0),
        ("crash", 2, "retry", 20.0),
        ("crash", 3, "review", None),
    ],
)
def test_every_kind_of_failure_has_its_own_ending(
    kind: FailureKind, attempt: int, done: str, delay: float | None
) -> None:
    """None of them loops, and no rule of the user's can change that."""
    ignoring = [rules.ignore()]
    assert decided(failure(kind), attempt, job=ignoring, queue=ignoring) == (done, delay, False)


@pytest.mark.parametrize("attempt", [1, 4, 400])
@pytest.mark.parametrize(
    ("unknown", "done", "delay"),
    [
        (0, "retry", UNKNOWN_JOB_DELAYS[0]),
        (2, "retry", UNKNOWN_JOB_DELAYS[2]),
        (3, "quarantine", None),
        (400, "quarantine", None),
    ],
)
def test_an_unknown_job_is_passed_on_a_few_times_whatever_its_attempt(
    attempt: int, unknown: int, done: str, delay: float | None
) -> None:
    """Passing on is no attempt; it has a count of its own."""
    book = rule_book()
    decision = decide(failure("unknown-job"), attempt, book, lambda: 0.5, unknown=unknown)
    assert (decision.do, decision.delay) == (done, delay)
    assert decision.counts == (done == "quarantine")


@pytest.mark.parametrize(
    ("signal", "asked", "attempt", "done", "delay"),
    [
        ("ignore", None, 1, "ignore", None),
        ("review", None, 1, "review", None),
        ("retry", None, 1, "retry", 5.0),
        ("retry", None, 2, "retry", 20.0),
        ("retry", 7.5, 1, "retry", 7.5),
        ("retry", 0.0, 1, "retry", 0.0),
        ("retry", -3.0, 1, "retry", 0.0),
        ("retry", LONGEST, 1, "retry", LONGEST),
        ("retry", None, 3, "review", None),
        ("retry", 7.5, 3, "review", None),
    ],
)
def test_a_signal_of_the_job_comes_before_every_rule(
    signal: str, asked: float | None, attempt: int, done: str, delay: float | None
) -> None:
    """Even before the job's own rules; a Retry still counts as an attempt."""
    raised = failure("signal", signal=signal, delay=asked)
    opposite = [rules.review() if signal == "ignore" else rules.ignore()]
    assert decided(raised, attempt, job=opposite) == (done, delay, False)


IGNORE, REVIEW = rules.ignore(on=KeyError), rules.review(on=KeyError)
MISS = rules.ignore(on="smtplib.SMTPException")


@pytest.mark.parametrize(
    ("job", "queue", "own", "attempt", "expected"),
    [
        # nothing says anything: the default
        ([], [], "default", 1, ("retry", 5.0, False)),
        ([], [], "default", 3, ("review", None, False)),
        ([], [], "never", 1, ("review", None, False)),
        # the job's rules, then the queue's, top to bottom
        ([IGNORE], [REVIEW], "default", 1, ("ignore", None, False)),
        ([MISS], [REVIEW], "default", 1, ("review", None, False)),
        ([REVIEW, IGNORE], [], "default", 1, ("review", None, False)),
        ([MISS], [MISS], "quick", 1, ("retry", 1.0, False)),
        # a base class and the star match
        ([rules.ignore(on=LookupError)], [], "default", 1, ("ignore", None, False)),
        ([rules.ignore(on="*")], [], "default", 1, ("ignore", None, False)),
        ([rules.ignore(on=["TypeError", KeyError])], [], "default", 1, ("ignore", None, False)),
        ([rules.ignore(on="keyerror")], [], "default", 1, ("retry", 5.0, False)),
        # a retry rule by name, by the own policy, used up: the next rule decides
        ([rules.retry("quick")], [], "default", 1, ("retry", 1.0, False)),
        ([rules.retry()], [], "default", 2, ("retry", 20.0, False)),
        ([rules.retry("quick"), IGNORE], [], "default", 2, ("ignore", None, False)),
        ([rules.retry("quick")], [REVIEW], "default", 2, ("review", None, False)),
        ([rules.retry("never")], [], "default", 1, ("retry", 5.0, False)),
        # notify combines with what follows; review if nothing is said, or its retries are used up
        ([rules.notify()], [], "default", 1, ("review", None, True)),
        ([rules.notify(then=IGNORE)], [], "default", 1, ("ignore", None, True)),
        ([rules.notify(then=rules.retry("quick"))], [], "default", 1, ("retry", 1.0, True)),
        ([rules.notify(then=rules.retry("quick"))], [], "default", 2, ("review", None, True)),
        ([rules.notify(then=rules.notify())], [], "default", 1, ("review", None, True)),
    ],
)
def test_rules_decide_in_their_order(
    job: list[Rule],
    queue: list[Rule],
    own: str,
    attempt: int,
    expected: tuple[str, float | None, bool],
) -> None:
    """Job, queue, default; top to bottom in each."""
    assert decided(failure(), attempt, job=job, queue=queue, own=own) == expected


@pytest.mark.parametrize(
    ("own", "chance", "delay"),
    [("shaky", 0.0, 5.0), ("shaky", 0.5, 10.0), ("shaky", 1.0, 15.0), ("quick", 0.9, 1.0)],
)
def test_jitter_spreads_a_delay_in_both_directions(own: str, chance: float, delay: float) -> None:
    """By up to its share; without jitter a delay is exact."""
    assert decided(failure(), own=own, chance=chance) == ("retry", delay, False)


def test_no_delay_is_longer_than_the_ladder() -> None:
    """Jitter would lift it over the last level."""
    assert decided(failure(), own="patient", chance=1.0) == ("retry", LONGEST, False)


def test_a_retry_after_more_than_the_ladder_holds_comes_before_a_person() -> None:
    """Cut short it would run before its time, and nobody would know."""
    for delay in (LONGEST + 0.001, 1e12, float("inf")):
        wrong = failure("signal", signal="retry", delay=delay)
        decision = decide(wrong, 1, rule_book(), lambda: 0.5)
        assert (decision.do, decision.delay) == ("review", None)
        assert "the longest that the topology allows is 3600 s" in decision.rule


def test_keep_travels_with_an_ignore() -> None:
    """``keep=0`` reaches the settlement."""
    book = rule_book(job_rules=[rules.ignore(keep=0)])
    decision = decide(failure(), 1, book, lambda: 0.5)
    assert decision == Decision(do="ignore", rule="ignore", keep=0)


def test_the_source_of_a_rule_names_it() -> None:
    """So that a person on the desk reads which line of the config decided."""
    named = Rule(do="review", source="queue emails, rule 1 (topology.yaml:9)")
    book = rule_book(queue_rules=[named])
    assert decide(failure(), 1, book, lambda: 0.5).rule == named.source


class Odd(KeyError, ValueError):
    """An error with two bases."""


def test_classes_are_named_along_the_whole_chain() -> None:
    """Builtins without their module, others with it."""
    names = class_names(Odd)
    assert names[0] == f"{__name__}.Odd"
    assert {"KeyError", "ValueError", "LookupError", "Exception", "BaseException"} <= set(names)
    assert "object" not in names


def test_errors_are_named_by_class_text_or_list() -> None:
    """Whatever the user writes, rules compare dotted names."""
    assert error_names("builtins.KeyError") == ("KeyError",)
    assert error_names([KeyError, "a.B", (Odd,)]) == ("KeyError", "a.B", f"{__name__}.Odd")  # type: ignore[list-item]


RULES = st.builds(
    Rule,
    do=st.sampled_from(["retry", "ignore", "review"]),
    errors=st.sampled_from([("*",), ("KeyError",), ("Exception",), ("other.Error",)]),
    policy=st.none() | st.sampled_from(sorted(POLICIES)),
)
ANY_RULES = st.lists(
    RULES | st.builds(Rule, do=st.just("notify"), then=st.none() | RULES), max_size=4
)


@given(ANY_RULES, ANY_RULES, st.sampled_from(sorted(POLICIES)), st.integers(1, 9), st.floats(0, 1))
def test_every_failure_is_decided_and_none_retries_for_ever(
    job: list[Rule], queue: list[Rule], own: str, attempt: int, chance: float
) -> None:
    """Whatever the rules: past the last attempt of every policy nothing is retried."""
    done, delay, _ = decided(failure(), attempt, job=job, queue=queue, own=own, chance=chance)
    assert done in ("retry", "ignore", "review")
    if attempt >= max(one.attempts for one in POLICIES.values()):
        assert done != "retry"
    assert delay is None or 0 <= delay <= LONGEST

"""``rate`` and ``concurrency`` of a queue in config/topology.yaml: values, faults with lines."""

from __future__ import annotations

import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import ConfigError
from rabbitjobs.policy.rate import Rate
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.draw import graph, mermaid
from rabbitjobs.topology.explain import explain
from rabbitjobs.topology.model import QueueSpec
from rabbitjobs.topology.plan import compile_plan


def queue(text: str) -> QueueSpec:
    """The queue ``q`` with these keys."""
    return loads(f"version: 1\nqueues:\n  q:\n    {text}\n", "t.yaml").queues["q"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("rate: 100/s", Rate(100, 1.0)),
        ("rate: {limit: 600/m}", Rate(600, 60.0)),
        ("rate: {limit: 5/s, scope: process}", Rate(5, 1.0, "process")),
        ("pool: threads", None),
    ],
)
def test_a_rate_is_the_fleets_unless_it_says_otherwise(text: str, wanted: Rate | None) -> None:
    """``scope: process`` grants it to each process."""
    assert queue(text).rate == wanted


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("concurrency: 7", None, 7),
        ("concurrency: {min: 2, max: 50}", 2, 50),
        ("concurrency: {min: 3, max: 3}", 3, 3),
        ("rate: 1/s", None, 10),
    ],
)
def test_slots_are_a_number_or_a_span(text: str, least: int | None, most: int) -> None:
    """A span follows the backlog."""
    assert (queue(text).least_concurrency, queue(text).concurrency) == (least, most)


@pytest.mark.parametrize(
    ("text", "where", "expected"),
    [
        ("rate: 100", "queues.q.rate", "a rate such as 100/s"),
        ("rate: fast", "queues.q.rate", "a rate such as 100/s"),
        ("rate: {limit: 0/s}", "queues.q.rate.limit", "a rate such as 100/s"),
        ("rate: {scope: fleet}", "queues.q.rate", "the key limit"),
        ("rate: {limit: 1/s, scope: flet}", "queues.q.rate.scope", "fleet"),
        ("rate: {limit: 1/s, per: job}", "queues.q.rate.per", "one of limit, scope"),
        ("concurrency: {min: 5, max: 2}", "queues.q.concurrency.max", "at least the min of 5"),
        ("concurrency: {min: 0, max: 2}", "queues.q.concurrency.min", "from 1 to"),
        ("concurrency: {max: 2}", "queues.q.concurrency", "the key min"),
        ("concurrency: {min: 1, max: 9}\n    prefetch: 20", "queues.q.prefetch", "no prefetch"),
        ("ordered: true\n    rate: 1/s", "queues.q.rate", "no rate on an ordered queue"),
        (
            "ordered: true\n    concurrency: {min: 1, max: 2}",
            "queues.q.concurrency",
            "1 on an ordered queue",
        ),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, where: str, expected: str) -> None:
    """File, line, key, and what was expected."""
    with pytest.raises(ConfigError) as caught:
        queue(text)
    (problem,) = caught.value.problems
    assert problem.path == where
    assert expected in problem.expected
    assert problem.file == "t.yaml" and problem.line in (4, 5)


def test_limits_are_explained_and_drawn() -> None:
    """Where they are used; nobody else reads of them."""
    text = "version: 1\nqueues:\n  q: {rate: 5/s, concurrency: {min: 2, max: 9}}\n  plain: {}\n"
    plan = compile_plan(loads(text, "t.yaml"), from_version("4.3.0"))
    cases = {case.name: case.text for case in explain(plan, "q")}
    assert "works on 2 to 9, as the backlog asks, at a time" in cases["taken"]
    assert cases["over its rate"].startswith("No more than 5/s start.")
    assert "over its rate" not in {case.name for case in explain(plan, "plain")}
    picture = mermaid(graph(plan))
    assert "2 to 9 slots" in picture and "5/s" in picture

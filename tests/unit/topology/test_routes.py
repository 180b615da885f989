"""Routes: pure, and never to a place where a message would be confirmed and lost."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import ArgumentsRefused, Unroutable
from rabbitjobs.topology import names, routes
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.model import default_spec
from rabbitjobs.topology.plan import Binding, Plan, compile_plan

SPEC = loads(
    """
version: 1
namespace: shop
retry:
  quick: {delays: [200ms, 5s]}
  spread: {attempts: 3, backoff: fixed, delay: 7s, jitter: 0.5}
queues:
  emails:
    priorities: [low, normal, high]
    retry: quick
    max_length: 5
    on: [{error: OSError, do: retry, retry: spread}]
  "a.b": {review: own, priorities: [p1, p2, p3, p4, p5, p6, p7]}
  "0.1": {priorities: [slow, fast], default_priority: fast}
  "retry.5s.emails": {}
""",
    "topology.yaml",
    env={},
)
SHORT = "version: 1\nnamespace: shop\nqueues: {{emails: {{}}}}\ndelays: {{longest: {}}}\n"
PLAN = compile_plan(SPEC, from_version("4.3.6"))


def test_a_job_goes_by_its_queue_s_name() -> None:
    """And an unknown queue is refused here, whatever the broker would do."""
    assert routes.work(SPEC, "a.b") == routes.Route("shop.jobs", "a.b")
    assert routes.work(PLAN, "a.b") == routes.Route("shop.jobs", "a.b")
    for route in (routes.work, lambda s, q: routes.delayed(s, q, timedelta(1))):
        with pytest.raises(Unroutable, match="rabbitjobs topology apply") as error:
            route(SPEC, "mails")
        assert error.value.queue == "mails"


def test_a_step_of_the_queue_s_policies_is_exact() -> None:
    """Other delays take the ladder, rounded up, and so do jittered policies."""
    five = routes.delayed(SPEC, "emails", timedelta(seconds=5))
    assert five == routes.Route("shop.delay", "retry.5s.emails")
    for delay, seconds in ((7, 7), (5.001, 6), (0.25, 1), (2**28 - 1, 2**28 - 1)):
        route = routes.delayed(SPEC, "emails", timedelta(seconds=delay))
        assert route.routing_key == names.ladder_key("emails", seconds)
    assert routes.delayed(SPEC, "emails", timedelta(0)) == routes.work(SPEC, "emails")
    assert routes.delayed(SPEC, "emails", timedelta(-1)) == routes.work(SPEC, "emails")


def test_a_delay_beyond_the_ladder_is_refused() -> None:
    """8.5 years; the text says so."""
    with pytest.raises(ArgumentsRefused, match="at most 3106d"):
        routes.delayed(SPEC, "emails", timedelta(seconds=2**28))


@pytest.mark.parametrize(
    ("longest", "levels"),
    [("15m", 10), ("17m3s", 10), ("17m3s500ms", 11), ("30d", 22), ("3106d21h24m15s", 28)],
)
def test_the_ladder_has_as_many_levels_as_the_longest_delay_takes(
    longest: str, levels: int
) -> None:
    """Its last delay arrives, one beyond is refused, and keys are those of every other ladder."""
    spec = loads(SHORT.format(longest), "topology.yaml", env={})
    plan = compile_plan(spec, from_version("4.3.6"))
    assert spec.levels == levels
    assert sum(queue.role == "delay" for queue in plan.queues) == levels
    for delay in (timedelta(seconds=1), timedelta(minutes=11), spec.longest_delay):
        route = routes.delayed(spec, "emails", delay)
        assert route == routes.delayed(default_spec("shop", ["emails"]), "emails", delay)
        end, waited = _walk(plan, route)
        assert end == "shop.q.emails"
        assert delay <= waited < delay + timedelta(seconds=1)
    with pytest.raises(ArgumentsRefused, match=f"at most {longest} .delays: longest in the topol"):
        routes.delayed(spec, "emails", spec.longest_delay + timedelta(milliseconds=1))


def test_a_delay_that_only_the_publisher_s_ladder_holds_has_no_route() -> None:
    """One without the config asks for it: the broker returns it, and so the publisher hears."""
    plan = compile_plan(loads(SHORT.format("15m"), "topology.yaml", env={}), from_version("4.3.6"))
    route = routes.delayed(default_spec("shop", ["emails"]), "emails", timedelta(seconds=1024))
    assert _routed(plan, route.exchange, route.routing_key) == set()


def test_failures_never_lack_a_route() -> None:
    """A queue's own review queue where it has one; the shared ones for all else."""
    assert routes.failed(SPEC, "review", "emails") == routes.Route("shop.fail", "review")
    assert routes.failed(SPEC, "review", "a.b") == routes.Route("shop.fail", "review.a.b")
    assert routes.failed(SPEC, "ignored", "a.b") == routes.Route("shop.fail", "ignored")
    assert routes.failed(SPEC, "quarantine", "gone") == routes.Route("shop.fail", "quarantine")
    assert routes.failed(SPEC, "notify") == routes.Route("shop.fail", "notify")


def test_the_default_priority_is_the_number_of_messages_without_one() -> None:
    """So jobs from foreign clients rank with ours, on every version."""
    numbers = [routes.priority_number(SPEC, "emails", n) for n in ("low", None, "normal", "high")]
    assert numbers == [3, 4, 4, 5]
    assert routes.priority_number(SPEC, "a.b", None) == 4
    assert [routes.priority_number(SPEC, "a.b", f"p{n}") for n in (1, 4, 7)] == [1, 4, 7]
    assert [routes.priority_number(SPEC, "0.1", n) for n in (None, "slow")] == [4, 3]
    assert routes.priority_number(SPEC, "retry.5s.emails", None) is None


def test_unknown_priorities_are_refused() -> None:
    """Also where the queue lists none."""
    with pytest.raises(ArgumentsRefused, match="expected one of low, normal, high"):
        routes.priority_number(SPEC, "emails", "urgent")
    with pytest.raises(ArgumentsRefused, match="lists none"):
        routes.priority_number(SPEC, "retry.5s.emails", "high")


@given(
    queue=st.sampled_from(sorted(SPEC.queues)),
    delay=st.timedeltas(timedelta(milliseconds=1), names.LONGEST),
)
def test_every_delay_leads_to_its_own_work_queue_after_the_asked_time(
    queue: str, delay: timedelta
) -> None:
    """Walked through the plan's own bindings, lifetimes and dead letters, as the broker does."""
    route = routes.delayed(PLAN, queue, delay)
    end, waited = _walk(PLAN, route)
    assert end == names.work_queue("shop", queue)
    assert delay <= waited < delay + timedelta(seconds=1, milliseconds=2)


def test_the_ladder_needs_no_file() -> None:
    """The hello world's topology delays too."""
    plan = compile_plan(default_spec(), from_version("4.3.6"))
    route = routes.delayed(plan, "default", timedelta(seconds=3))
    assert _walk(plan, route) == ("rabbitjobs.q.default", timedelta(seconds=3))


def _walk(plan: Plan, route: routes.Route) -> tuple[str, timedelta]:
    """Follow one message: exactly one queue at each turn, until one that lets nothing expire."""
    waited, exchange, key = timedelta(), route.exchange, route.routing_key
    queues = {queue.name: queue for queue in plan.queues}
    for _ in range(names.LEVELS + 3):
        (name,) = _routed(plan, exchange, key)
        arguments = queues[name].arguments
        if "x-message-ttl" not in arguments:
            return name, waited
        waited += timedelta(milliseconds=arguments["x-message-ttl"])
        exchange = arguments["x-dead-letter-exchange"]
        key = arguments.get("x-dead-letter-routing-key", key)
    raise AssertionError("it never arrives")


def _routed(plan: Plan, exchange: str, key: str) -> set[str]:
    kinds = {e.name: e.type for e in plan.exchanges}
    found: set[str] = set()
    for binding in plan.bindings:
        if binding.source == exchange and _matches(kinds[exchange], binding, key):
            found |= (
                _routed(plan, binding.destination, key)
                if binding.to_exchange
                else {binding.destination}
            )
    return found


def _matches(kind: str, binding: Binding, key: str) -> bool:
    if kind == "direct":
        return binding.routing_key == key
    return kind == "fanout" or _topic(binding.routing_key.split("."), key.split("."))


def _topic(pattern: list[str], words: list[str]) -> bool:
    """AMQP's topic match: * is one word, # is any number of them."""
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_topic(pattern[1:], words[skip:]) for skip in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _topic(pattern[1:], words[1:])

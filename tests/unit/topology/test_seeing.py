"""Differences, drift, explanations and drawings: pure, from a plan and a picture of a vhost."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.errors import Unroutable
from rabbitjobs.topology.config import loads
from rabbitjobs.topology.diff import diff
from rabbitjobs.topology.draw import columns, graph, mermaid, table, width
from rabbitjobs.topology.drift import find_drift
from rabbitjobs.topology.explain import explain
from rabbitjobs.topology.live import Live, LiveExchange, LivePolicy, LiveQueue, binding_key
from rabbitjobs.topology.permissions import roles
from rabbitjobs.topology.plan import Plan, compile_plan
from rabbitjobs.topology.svg import svg

CONFIG = """
version: 1
namespace: shop
retry:
  patient: {delays: [1s, 2s]}
  spread: {attempts: 3, delay: 5s, jitter: 0.25}
queues:
  emails:
    priorities: [low, normal, high]
    accept: [classic-queue, two-priorities, consumer-timeout]
    retry: patient
    max_length: 50
    message_ttl: 1h
    consumer_timeout: 2h
    review: own
    on:
      - {error: OSError, do: retry, retry: spread}
      - {error: KeyError, do: ignore, keep: 0}
      - {error: IndexError, do: ignore}
      - {error: TypeError, do: review}
      - {error: ValueError, do: notify, then: ignore}
      - {error: "*", do: notify}
  주문: {ordered: true}
"""


def _plan(version: str = "4.3.6", config: str = CONFIG) -> Plan:
    return compile_plan(loads(config, "topology.yaml", env={}), from_version(version))


def _live(plan: Plan) -> Live:
    """A vhost on which the plan was applied."""
    policies = {policy.name: policy for policy in plan.policies}
    return Live(
        exchanges={
            e.name: LiveExchange(
                name=e.name, type=e.type, internal=e.internal, arguments=e.arguments
            )
            for e in plan.exchanges
        },
        queues={
            q.name: LiveQueue(
                name=q.name,
                arguments=q.arguments,
                policy=q.name,
                effective=policies[q.name].definition,
            )
            for q in plan.queues
        },
        bindings=frozenset(binding_key(binding) for binding in plan.bindings),
        policies={
            p.name: LivePolicy(
                name=p.name,
                pattern=p.pattern,
                definition=p.definition,
                priority=p.priority,
                apply_to=p.apply_to,
            )
            for p in plan.policies
        },
    )


def _with_queue(live: Live, name: str, **changes: Any) -> Live:
    changed = msgspec.structs.replace(live.queues[name], **changes)
    return msgspec.structs.replace(live, queues={**live.queues, name: changed})


def test_an_applied_plan_differs_in_nothing() -> None:
    """On every version."""
    for version in ("3.10.8", "4.0.5", "4.3.6"):
        plan = _plan(version)
        assert not diff(plan, _live(plan))
        assert find_drift(plan, _live(plan)) == ()


def test_differences_are_shown_as_what_they_take() -> None:
    """Created, changed in place, or replaced, which is refused."""
    plan = _plan()
    live = _live(plan)
    other = {**live.queues["shop.q.emails"].arguments, "x-overflow": "drop-head"}
    changed = _with_queue(live, "shop.q.emails", arguments=other)
    exchanges = {
        **{name: e for name, e in live.exchanges.items() if name != "shop.events"},
        "shop.jobs": LiveExchange(name="shop.jobs", type="topic"),
    }
    changed = msgspec.structs.replace(changed, exchanges=exchanges, bindings=frozenset())
    found = diff(plan, changed)
    texts = [str(item) for item in found.items]
    assert "create exchange shop.events: topic" in texts
    assert [f"{c.kind} {c.name}: {c.detail}" for c in found.refused] == [
        "exchange shop.jobs: type: topic -> direct",
        "queue shop.q.emails: x-overflow: drop-head -> reject-publish",
    ]
    assert sum(c.kind == "binding" for c in found.items) == len(plan.bindings)


def test_where_a_queue_s_copies_live_is_the_operators_affair() -> None:
    """Neither does RabbitMQ compare it."""
    plan = _plan()
    live = _live(plan)
    arguments = {**live.queues["shop.q.emails"].arguments, "x-quorum-initial-group-size": 5}
    assert not diff(plan, _with_queue(live, "shop.q.emails", arguments=arguments))


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"policy": "theirs"}, "the policy in effect is theirs, not ours"),
        ({"policy": None}, "the policy in effect is none, not ours"),
        (
            {"operator_policy": "caps", "effective": {"delivery-limit": 2}},
            "the operator policy caps overrides ours",
        ),
        (
            {"operator_policy": "caps", "effective": {"expires": 60}},
            "expires: 60 -> none",
        ),
        ({"effective": {}, "caps": {"max-length": 2}}, "max-length: 2 -> 50"),
    ],
)
def test_drift_reads_the_policy_in_effect(changes: dict[str, Any], detail: str) -> None:
    """What was set is not what counts."""
    plan = _plan()
    live = _live(plan)
    if caps := changes.get("caps"):
        operator = LivePolicy(
            name="caps", pattern="emails$", definition=caps, priority=0, apply_to="queues"
        )
        live = msgspec.structs.replace(live, operator_policies=(operator,))
        changes = {"effective": {}}
    elif "effective" in changes:
        ours = live.queues["shop.q.emails"].effective
        changes = {**changes, "effective": {**ours, **changes["effective"]}}
    (finding,) = find_drift(plan, _with_queue(live, "shop.q.emails", **changes))
    assert (finding.kind, finding.name) == ("differs", "queue shop.q.emails")
    assert detail in finding.detail


def test_no_operator_is_blamed_for_a_policy_that_is_still_the_old_one() -> None:
    """A change that apply refused: our own policy stands as it was, and nobody overrides it."""
    plan = _plan()
    live = _live(plan)
    name = "shop.q.emails"
    old = {**live.policies[name].definition, "dead-letter-routing-key": "elsewhere"}
    before = msgspec.structs.replace(live.policies[name], definition=old)
    live = msgspec.structs.replace(live, policies={**live.policies, name: before})
    found = find_drift(plan, _with_queue(live, name, effective=old))
    assert [finding.name for finding in found] == [f"policy {name}"]
    assert "dead-letter-routing-key: elsewhere -> " in found[0].detail
    assert "operator" not in found[0].detail


def test_drift_shows_stray_bindings_and_what_is_left_over() -> None:
    """A tap on jobs confirms what has no reader; an old retry queue only waits to be empty."""
    plan = _plan()
    live = _live(plan)
    old = {
        name: LiveQueue(name=name, messages=count)
        for name, count in (("shop.retry.emails.9s", 3), ("shop.q.gone", 0), ("shop.reply.x", 1))
    }
    tap = ("shop.jobs", "spy", "queue", "#", "{}")
    old_way = ("shop.delay", "shop.retry.emails.9s", "queue", "retry.9s.emails", "{}")
    gone = LivePolicy(
        name="shop.q.past",
        pattern="^shop\\.q\\.past$",
        definition={},
        priority=1,
        apply_to="queues",
    )
    live = msgspec.structs.replace(
        live,
        queues={**live.queues, **old},
        bindings=live.bindings | {tap, old_way},
        policies={**live.policies, gone.name: gone},
        exchanges={**live.exchanges, "shop.old": LiveExchange(name="shop.old", type="topic")},
    )
    found = [(finding.kind, finding.name) for finding in find_drift(plan, live)]
    assert found == [
        ("differs", "binding shop.jobs -> queue spy (#)"),
        ("left over", "queue shop.q.gone"),
        ("left over", "queue shop.retry.emails.9s"),
        ("left over", "exchange shop.old"),
        ("left over", "policy shop.q.past"),
    ]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        (3, "3 messages wait in it; leave it until it is empty, then delete it"),
        (0, "0 messages wait in it; it can be deleted"),
        (None, "an unknown number of messages wait in it; leave it until it is empty"),
    ],
)
def test_an_old_queue_may_be_deleted_only_when_it_is_known_to_be_empty(
    messages: int | None, said: str
) -> None:
    """A node that has just started tells no totals."""
    plan = _plan()
    live = _live(plan)
    old = {"shop.q.gone": LiveQueue(name="shop.q.gone", messages=messages)}
    live = msgspec.structs.replace(live, queues={**live.queues, **old})
    (found,) = find_drift(plan, live)
    assert said in str(found)


def test_every_case_of_a_queue_is_explained() -> None:
    """With the queues, lifetimes and limits that do it."""
    cases = {case.name: case.text for case in explain(_plan(), "emails")}
    for name, words in {
        "sent": "shop.jobs",
        "unroutable": "Unroutable",
        "full": "50 waiting jobs",
        "priority": "high = 5, normal = 4, low = 3",
        "delayed": "Exactly 1s, 2s",
        "its queue is gone when a delay ends": "shop.undeliverable",
        "taken": "works on 10 at a time",
        "success": "acked",
        "takes too long": "after 2h",
        "failure, rule 1 (OSError)": "spread by up to 25%",
        "failure, rule 2 (KeyError)": "No record",
        "failure, rule 3 (IndexError)": "shop.ignored",
        "failure, rule 4 (TypeError)": "shop.review.emails",
        "failure, rule 5 (ValueError)": "then ignored",
        "failure, rule 6 (*)": "then review",
        "failure, no rule says anything": '"patient": 3 attempts',
        "review": "shop.review.emails",
        "ignored": "100000",
        "notified": "shop.notify",
        "cannot be read, or nobody knows the job": "shop.quarantine",
        "its worker dies": "After 21 deliveries",
        "lives too long in the queue": "After 1h",
        "expires= has passed": "expired",
    }.items():
        assert words in cases[name], name
    assert "what this broker costs" not in cases


def test_explanations_tell_what_older_brokers_cost() -> None:
    """And queues without limits, in order."""
    old = {case.name: case.text for case in explain(_plan("3.10.8"), "emails")}
    assert "classic queue knows no delivery limit" in old["its worker dies"]
    assert "classic-queue" in old["what this broker costs"]
    assert "consumer-timeout" in old["what this broker costs"]
    four = {case.name: case.text for case in explain(_plan("4.0.5"), "emails")}
    assert "two levels" in four["priority"]
    ordered = {case.name: case.text for case in explain(_plan(), "주문")}
    assert "single active consumer" in ordered["taken"]
    assert "no length limit" in ordered["full"]
    with pytest.raises(Unroutable, match="emails, 주문"):
        explain(_plan(), "mails")


RAW = """
raw:
  exchanges: {crm: {}}
  queues: {shop.x.<log>: {}}
  bindings:
    - {from: crm, to_queue: shop.q.emails, key: 'a"b'}
    - {from: shop.events, to_queue: shop.x.<log>}
"""


def test_the_svg_is_well_formed_and_shows_every_queue() -> None:
    """Names that look like markup are text."""
    plan = _plan(config=CONFIG + RAW)
    root = ElementTree.fromstring(svg(graph(plan), title="Topology of <shop>"))
    texts = {element.text for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {queue.name for queue in plan.queues if queue.role != "delay"} <= texts
    assert {"shop.jobs", "shop.delay", "shop.deliver", "shop.fail", "crm"} <= texts


def test_mermaid_names_every_queue_once() -> None:
    """Ids are numbers, so that no name can break the language."""
    plan = _plan(config=CONFIG + RAW)
    text = mermaid(graph(plan))
    lines = text.splitlines()
    assert lines[0] == "flowchart LR"
    assert sum("shop.q.주문" in line for line in lines) == 1
    assert "shop.x.#60;log#62;" in text
    assert "a#34;b" in text


def test_the_table_is_aligned_in_a_terminal() -> None:
    """Korean signs take two places."""
    assert width("주문") == 4
    lines = table(_plan()).splitlines()
    row = next(line for line in lines if line.startswith("shop.q.주문 "))
    assert width(row[: row.index("shop.jobs")]) == lines[0].index("from")
    assert columns([("a", "b"), ("주", "x")]) == "a   b\n--  -\n주  x\n"


def test_roles_get_the_least_they_need() -> None:
    """As the design lists them; raw objects outside the namespace belong to topology."""
    found = {role.name: role for role in roles(_plan().spec)}
    assert found["topology"].configure == r"^shop\."
    assert found["topology"].tags == ("policymaker",)
    assert found["publisher"].write == r"^shop\.(jobs|delay)$"
    assert found["reviewer"].read == r"^shop\.(review(\..*)?|notify|quarantine|undeliverable)$"
    raw = {role.name: role for role in roles(_plan(config=CONFIG + RAW).spec)}
    assert raw["topology"].write == r"^(shop\.|(crm)$)"
    assert raw["worker"] == found["worker"]

"""doctor's checks, from facts: what is well, what is not, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rabbitjobs.broker.version import from_version
from rabbitjobs.monitor.doctor import Check, diagnose, worst
from rabbitjobs.monitor.facts import EFFECTIVE, BrokerFacts, QueueSeen, StoreFacts
from rabbitjobs.topology.model import QueueSpec, RawQueue, TopologySpec, default_spec
from rabbitjobs.topology.permissions import Need, needs
from rabbitjobs.topology.plan import compile_plan

SPEC = default_spec("shop", ("emails",))
POSTGRES = StoreFacts(where="postgresql://db/shop")


def facts(spec: TopologySpec = SPEC, version: str = "4.3.6", **changed: Any) -> BrokerFacts:
    """A broker on which everything is as it should be."""
    capabilities = from_version(version)
    plan = compile_plan(spec, capabilities)
    found = BrokerFacts(
        address="amqp://jobs:***@host:5672/shop",
        capabilities=capabilities,
        plan=plan,
        queues={queue.name: QueueSeen(consumers=1) for queue in plan.queues},
        exchanges={exchange.name: 0 for exchange in plan.exchanges},
        user="jobs",
        rights={need: True for role in needs(spec).values() for need in role},
        private=True,
        live_queues={
            queue.name: {"name": queue.name, "arguments": dict(queue.arguments)}
            for queue in plan.queues
        },
        live_exchanges={exchange.name: exchange.type for exchange in plan.exchanges},
        live_bindings=frozenset((one.source, one.routing_key) for one in plan.bindings),
    )
    return replace(found, **changed)


def wrong(broker: BrokerFacts, store: StoreFacts = POSTGRES, **more: Any) -> list[Check]:
    """The checks that are not well."""
    return [check for check in diagnose(SPEC, broker, store, **more) if check.state != "ok"]


def test_a_broker_where_everything_is_well_passes_every_check() -> None:
    """Nothing to do, on the reference version."""
    checks = diagnose(SPEC, facts(), POSTGRES)
    assert [check for check in checks if check.state != "ok"] == []
    assert worst(checks) == "ok"
    assert {check.name for check in checks} == {
        "broker",
        "store",
        "version",
        "alarms",
        "topology",
        "permissions",
        "consumer timeout",
        "consumers",
        "dead letters",
        "dead-letter pause",
    }


def test_a_broker_that_cannot_be_reached_is_the_only_thing_said_of_it() -> None:
    """No checks that could only guess."""
    checks = diagnose(SPEC, BrokerFacts(address="", error="refused"), POSTGRES)
    assert [(check.name, check.state) for check in checks] == [("broker", "fail"), ("store", "ok")]
    assert "rabbitjobs broker start" in checks[0].do


@pytest.mark.parametrize("version", ["3.10.8", "4.0.5"])
def test_an_older_broker_is_told_what_it_lacks(version: str) -> None:
    """One warning for each thing, none of them a fault."""
    found = wrong(facts(version=version))
    assert {check.name for check in found} == {"version"}
    assert {check.state for check in found} == {"warn"}
    assert all(version in check.text for check in found)


def test_sqlite_serves_one_machine() -> None:
    """Said plainly, as a warning."""
    (check,) = wrong(facts(), StoreFacts(where="sqlite:///x.db", one_machine=True))
    assert "this one machine only" in check.text
    assert check.state == "warn"


def test_a_store_that_cannot_be_used_is_a_fault_and_none_is_a_warning() -> None:
    """Without a store there are no results and no desk; a broken one stops all acks."""
    (broken,) = wrong(facts(), StoreFacts(where="sqlite:///x", one_machine=True, error="locked"))
    (missing,) = wrong(facts(), StoreFacts(where="sqlite:///x", missing="no such file"))
    assert (missing.state, missing.text) == ("warn", "no such file")
    (none,) = wrong(facts(), StoreFacts())
    assert (broken.state, none.state) == ("fail", "warn")


def test_an_alarm_is_a_fault() -> None:
    """Publishing stands still."""
    (check,) = wrong(facts(alarms=("memory alarm on a@b",)))
    assert (check.name, check.state) == ("alarms", "fail")


def test_missing_objects_are_a_fault_with_their_names() -> None:
    """And the command that declares them."""
    queues = {**facts().queues, "shop.q.emails": QueueSeen(fault=404)}
    found = wrong(facts(queues=queues, exchanges={**facts().exchanges, "shop.fail": 404}))
    (check,) = [check for check in found if check.name == "topology"]
    assert "2 of" in check.text and "shop.q.emails" in check.text
    assert "topology apply" in check.do


def rights(*lacking: Need) -> dict[Need, bool]:
    """All rights but these."""
    return {need: need not in lacking for role in needs(SPEC).values() for need in role}


def test_a_role_is_told_the_rights_that_it_lacks() -> None:
    """By name, with the command that grants them."""
    lacks = rights(Need("write", "shop.fail"), Need("read", "shop.q.emails"))
    (check,) = wrong(facts(rights=lacks), roles=["worker"])
    assert (check.name, check.state) == ("permissions", "fail")
    assert check.text.endswith("a worker: write on shop.fail; read on shop.q.emails")
    assert check.do == "rabbitjobs topology permissions --apply --user worker=jobs"
    assert not wrong(facts(rights=lacks), roles=["publisher"])
    (check,) = wrong(facts(tags=frozenset({"management"})), roles=["topology"])
    assert "the tag policymaker" in check.text


@pytest.mark.parametrize("asked", [["worker"], ["worker", "reviewer"], []])
def test_the_command_names_every_role_that_the_account_has(asked: list[str]) -> None:
    """RabbitMQ keeps one set of rights: granting the missing role alone takes the others away."""
    lacks = rights(Need("read", "shop.q.emails"))
    (check,) = wrong(facts(rights=lacks, tags=frozenset()), roles=asked)
    command = "rabbitjobs topology permissions --apply"
    assert check.do == f"{command} --user worker=jobs --user reviewer=jobs"


def test_without_a_role_the_nearest_one_is_meant() -> None:
    """A user that is nothing wholly is at fault; one that misses little of another is warned."""
    nothing = dict.fromkeys(rights(), False)
    (check,) = wrong(facts(rights={**nothing, Need("write", "shop.jobs"): True}))
    assert (check.state, check.text.partition(" be ")[2]) == (
        "fail",
        "a publisher: write on shop.delay",
    )
    sends = {**nothing, Need("write", "shop.jobs"): True, Need("write", "shop.delay"): True}
    assert not wrong(facts(rights=sends))
    (check,) = wrong(facts(rights=rights(Need("configure", "shop.control"))))
    assert (check.state, check.text.partition(" be ")[2]) == (
        "warn",
        "a worker: configure on shop.control.*",
    )


def test_what_a_user_may_not_see_is_no_fault() -> None:
    """On RabbitMQ 4.3 a publisher does not even see the queues."""
    queues = {**facts().queues, "shop.review": QueueSeen(fault=403)}
    assert not wrong(facts(queues=queues))


def test_without_management_what_is_not_checked_is_said() -> None:
    """A missing plugin is no fault of the jobs."""
    found = wrong(facts(management_error="refused", live_queues={}, live_exchanges={}, alarms=()))
    assert [check.name for check in found] == ["management"]


def test_jobs_that_outlast_the_consumer_timeout_are_a_fault() -> None:
    """They would be delivered again for ever (celery 6760)."""
    hour = timedelta(hours=1)
    for version, limits in (("4.3.6", [hour, None]), ("4.0.9", [hour, None]), ("4.0.9", [hour])):
        found = diagnose(SPEC, facts(version=version), POSTGRES, {"emails": limits})
        (check,) = (check for check in found if check.name == "consumer timeout")
        assert check.state == "fail"
        assert "30m" in check.text and "1h" in check.text
    assert not wrong(facts(), limits={"emails": [timedelta(minutes=5)]})


def test_a_worker_asks_for_the_time_that_its_jobs_need_where_it_can() -> None:
    """On RabbitMQ 4.3, and only where every job has a hard limit: else one would be cut short."""
    checks = diagnose(SPEC, facts(), POSTGRES, {"emails": [timedelta(hours=1)]})
    (check,) = (check for check in checks if check.name == "consumer timeout")
    assert check.state == "ok"
    assert "1h1m" in check.text and "as its consumers ask" in check.text


def test_the_effective_consumer_timeout_counts() -> None:
    """A policy on the broker may be stricter than the config."""
    queues = {
        **facts().live_queues,
        "shop.q.emails": {"effective_policy_definition": {"consumer-timeout": 60_000}},
    }
    (check,) = wrong(facts(live_queues=queues), limits={"emails": [timedelta(minutes=5)]})
    assert "1m" in check.text


LIMITED = msgspec.structs.replace(
    SPEC, queues={"emails": QueueSpec(name="emails", time_limit=timedelta(hours=2))}
)


def timeouts(
    live: Mapping[str, Any], version: str = "4.3.6", spec: TopologySpec = LIMITED
) -> Check:
    """What is said of the consumer timeout of the one queue, where this is what stands there."""
    broker = facts(spec, version, live_queues={"shop.q.emails": live} if live else {})
    (check,) = (c for c in diagnose(spec, broker, POSTGRES) if c.name == "consumer timeout")
    return check


def test_a_time_limit_that_was_not_applied_is_a_fault() -> None:
    """The live queue counts, not the config: without the policy the broker's default holds."""
    check = timeouts({EFFECTIVE: {"delivery-limit": 20}})
    assert check.state == "fail"
    assert "taken back after 30m" in check.text and "2h" in check.text
    assert check.do.startswith("apply first: `rabbitjobs topology apply`")
    check = timeouts({EFFECTIVE: {"consumer-timeout": 7_260_000}})
    assert check.state == "ok"
    assert "taken back after 2h1m (the queue's effective" in check.text


def test_a_consumer_timeout_below_the_configs_is_a_fault_without_a_limit_too() -> None:
    """Somebody raised it in the file, and did not apply it."""
    asked = QueueSpec(name="emails", consumer_timeout=timedelta(hours=2))
    spec = msgspec.structs.replace(SPEC, queues={"emails": asked})
    check = timeouts({EFFECTIVE: {"consumer-timeout": 3_600_000}}, spec=spec)
    assert (check.state, check.do.partition(":")[0]) == ("fail", "apply first")
    assert "after 1h" in check.text and "not after 2h" in check.text
    assert timeouts({EFFECTIVE: {"consumer-timeout": 7_200_000}}, spec=spec).state == "ok"


@pytest.mark.parametrize("live", [{}, {"policy": "shop.q.emails", "arguments": {}}])
def test_where_the_live_timeout_cannot_be_seen_that_is_said(live: Mapping[str, Any]) -> None:
    """No management API, or no right to see the policies of an older broker."""
    check = timeouts(live, "4.0.5")
    assert check.state == "ok"
    assert "after 2h1m (as configured; whether that was applied cannot be seen" in check.text


def test_a_time_limit_is_not_said_to_end_jobs() -> None:
    """It sets the broker's timeout, and ends none (docs/guides/consuming.md)."""
    text = timeouts({EFFECTIVE: {"consumer-timeout": 7_260_000}}).text
    assert text.endswith(", and its jobs are to take 2h at most")
    guide = (Path(__file__).parents[3] / "docs" / "guides" / "consuming.md").read_text()
    assert "The limit itself ends no job." in " ".join(guide.split())


def test_queues_without_consumers_are_named_with_what_to_run() -> None:
    """Work queues, the notify queue and the review queue."""
    idle = {name: QueueSeen(ready=1200) for name in facts().queues}
    found = [check for check in wrong(facts(queues=idle)) if check.name == "consumers"]
    text = "\n".join(f"{check.text} {check.do}" for check in found)
    for part in ("shop.q.emails", "1,200", "consume emails", "notify run", "rabbitjobs intake"):
        assert part in text
    assert len(found) == 3


def test_only_queues_that_are_seen_are_said_to_have_a_consumer() -> None:
    """A publisher sees none: then it is said that nothing was checked."""
    none = dict.fromkeys(facts().queues, QueueSeen(fault=403))
    assert consumers(none) == [
        "not checked for 3 of 3 queues that need one: this user may not see them"
    ]
    some = {**facts().queues, "shop.review": QueueSeen(fault=403)}
    assert consumers(some) == [
        "each of 2 queues that need a consumer has one",
        "not checked for 1 of 3 queues that need one: this user may not see them",
    ]
    assert consumers({**facts().queues, "shop.review": QueueSeen(fault=404)}) == [
        "each of 2 queues that need a consumer has one"
    ]


def consumers(queues: Mapping[str, QueueSeen]) -> list[str]:
    """What is said of consumers, nothing of it a fault."""
    checks = diagnose(SPEC, facts(queues=queues), POSTGRES)
    found = [check for check in checks if check.name == "consumers"]
    assert {check.state for check in found} == {"ok"}
    return [check.text for check in found]


def test_what_is_held_in_quarantine_is_shown() -> None:
    """Nothing that failed is hidden."""
    queues = {**facts().queues, "shop.quarantine": QueueSeen(ready=3)}
    (check,) = wrong(facts(queues=queues))
    assert "3 messages" in check.text and "queue peek" in check.do
    assert "lack a valid signature" in check.text


def _with(queue: str, **queue_facts: Any) -> Mapping[str, Any]:
    return {**facts().live_queues, queue: {"arguments": {}, **queue_facts}}


@pytest.mark.parametrize(
    ("live", "said"),
    [
        (_with("shop.q.x", arguments={"x-dead-letter-exchange": "gone"}), "missing exchange gone"),
        (
            _with("shop.q.x", effective_policy_definition={"dead-letter-exchange": "gone"}),
            "missing exchange gone",
        ),
        (
            _with(
                "shop.q.x",
                arguments={
                    "x-dead-letter-exchange": "shop.fail",
                    "x-dead-letter-routing-key": "nobody",
                },
            ),
            "nothing is bound for the key nobody",
        ),
        (
            _with(
                "raw",
                arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "no.queue"},
            ),
            "missing queue no.queue",
        ),
    ],
)
def test_dead_letter_targets_that_do_not_exist_are_faults(
    live: Mapping[str, Any], said: str
) -> None:
    """At-least-once holds such messages for ever, at-most-once loses them."""
    spec = msgspec.structs.replace(SPEC, raw_queues=(RawQueue(name="raw"),))
    checks = diagnose(spec, facts(live_queues=live), POSTGRES)
    (check,) = [check for check in checks if check.name == "dead letters"]
    assert check.state == "fail"
    assert said in check.text


def test_queues_of_strangers_are_none_of_our_business() -> None:
    """Another team's queue on the same vhost is not reported."""
    live = {**facts().live_queues, "theirs": {"arguments": {"x-dead-letter-exchange": "gone"}}}
    assert not wrong(facts(live_queues=live))


def test_the_pause_of_refused_dead_letters_is_a_warning_away_from_private_nodes() -> None:
    """Three minutes by default, and doctor cannot see the setting."""
    (check,) = wrong(facts(private=False))
    assert "dead_letter_worker_publisher_confirm_timeout" in check.do

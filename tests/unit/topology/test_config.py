"""config/topology.yaml: every fault at once, with file, line, expected and found."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs.errors import ConfigError
from rabbitjobs.topology.config import load, loads
from rabbitjobs.topology.model import RuleSpec, TopologySpec, default_spec

DEMO = Path(__file__).parents[3] / "config" / "topology.yaml"


def _loads(text: str) -> TopologySpec:
    return loads(text, "topology.yaml", env={})


def _problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        _loads(text)
    return [str(problem) for problem in error.value.problems]


def test_no_pause_is_longer_than_the_longest_delay() -> None:
    """What is put off and the default policy's pauses fit into the least one."""
    text = """version: 1
delays: {longest: %s}
retry:
  listed: {delays: [5s, 16m]}
  spread: {attempts: 9, first: 10m, jitter: 0.5}
  capped: {attempts: 9, first: 1s, cap: 16m}
queues: {emails: {}}
"""
    spec = _loads(text % "16m")
    assert spec.longest_delay == timedelta(minutes=16)
    assert max(spec.retry["spread"].delays) == timedelta(minutes=16)
    assert [problem.split(" expected ")[0] for problem in _problems(text % "15m")] == [
        "topology.yaml:4: retry.listed.delays[1]:",
        "topology.yaml:6: retry.capped.cap:",
    ]
    (problem,) = _problems(text.replace("16m", "1m") % "899s")
    assert problem.startswith("topology.yaml:2: delays.longest: expected a duration from 15m to")
    assert _loads("version: 1\nqueues: {emails: {}}").levels == 28


def test_the_design_s_example_is_read() -> None:
    """Names, numbers, durations, rules in their order, and the default policy beside them."""
    spec = _loads(
        """
version: 1
namespace: shop
retry:
  gentle: {attempts: 5, backoff: exponential, first: 5s, cap: 10m}
queues:
  emails:
    priorities: [low, normal, high]
    concurrency: 20
    retry: gentle
    on:
      - {error: smtplib.SMTPRecipientsRefused, do: ignore}
      - {error: [TimeoutError, builtins.ConnectionError], do: retry}
      - {error: "*", do: notify, then: review}
    max_length: 100000
"""
    )
    queue = spec.queues["emails"]
    assert (spec.namespace, spec.file) == ("shop", "topology.yaml")
    assert (queue.concurrency, queue.max_length, queue.line) == (20, 100_000, 7)
    assert queue.priorities == ("low", "normal", "high")
    assert queue.usual_priority == "normal"
    seconds = [delay.total_seconds() for delay in spec.policy_of("emails").delays]
    assert seconds == [5, 10, 20, 40]
    assert queue.rules == (
        RuleSpec(errors=("smtplib.SMTPRecipientsRefused",), do="ignore", line=12),
        RuleSpec(errors=("TimeoutError", "ConnectionError"), do="retry", line=13),
        RuleSpec(errors=("*",), do="notify", then="review", line=14),
    )
    assert spec.retry["default"].attempts == 5


def test_the_demo_s_file_is_sound() -> None:
    """Every example in it too."""
    spec = load(DEMO, env={})
    assert set(spec.queues) >= {"orders", "confirmations", "invoices", "fulfilment"}


def test_every_fault_comes_at_once() -> None:
    """One run of the editor mends them all."""
    problems = _problems(
        """version: 2
namespace: a.b
retyr: {}
retry:
  odd: {attempts: 0, backoff: exponential, first: 5}
  worse: {attempts: 3, backoff: fixed, first: 5s}
  listed: {delays: [5s, 1 fortnight], attempts: 7}
  capped: {attempts: 3, first: 1m, cap: 5s}
queues:
  emails:
    retry: gentle
    concurrency: many
    max_length: -1
    priorities: [low, low]
    default_priority: high
    accept: [everything]
    on:
      - {error: "not a name", do: retry}
      - {error: X, do: ignore, then: review, keep: 3}
      - {error: "*", do: review}
      - {error: Y, do: frobnicate}
      - {do: retry, retry: nobody}
    consumer_timeout: 5
  emails: {}
  "a*": {}
  ordered: {ordered: true, concurrency: 2, prefetch: 4, priorities: [a, b]}
  many: {prefetch: 9, priorities: [a, b, c, d, e, f], default_priority: f}
ignored: {keep: 0s}
"""
    )
    found = [problem.removeprefix("topology.yaml:").split(": ")[:2] for problem in problems]
    assert [f"{line} {path}" for line, path in found] == [
        "1 version",
        "2 namespace",
        "3 retyr",
        "5 retry.odd.attempts",
        "5 retry.odd.first",
        "6 retry.worse.first",
        "6 retry.worse",
        "7 retry.listed.delays[1]",
        "7 retry.listed.attempts",
        "8 retry.capped.cap",
        "11 queues.emails.retry",
        "12 queues.emails.concurrency",
        "13 queues.emails.max_length",
        "14 queues.emails.priorities[1]",
        "15 queues.emails.default_priority",
        "16 queues.emails.accept[0]",
        "18 queues.emails.on[0].error",
        "19 queues.emails.on[1].then",
        "19 queues.emails.on[1].keep",
        "21 queues.emails.on[3].do",
        "21 queues.emails.on[3]",
        "22 queues.emails.on[4]",
        "22 queues.emails.on[4].retry",
        "22 queues.emails.on[4]",
        "23 queues.emails.consumer_timeout",
        "24 queues.emails",
        "25 queues.a*",
        "26 queues.ordered.concurrency",
        "26 queues.ordered.prefetch",
        "26 queues.ordered.priorities",
        "27 queues.many.prefetch",
        "27 queues.many.priorities",
        "28 ignored.keep",
    ]
    assert "topology.yaml:3: retyr: expected retry, got the unknown key 'retyr'" in problems


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a mapping with version and queues"),
        ("[1]", "a mapping (key: value)"),
        ("queues: {a: {}}", "the key version"),
        ("version: 1", "the key queues"),
        ("version: 1\nqueues: {}", "at least one queue"),
        ("version: 1\nqueues: {a: {retry: x}}\nretry: {x: {attempts: 3}}", "the key first"),
        ("version: 1\nqueues: {a: {retry: x}}\nretry: {x: {first: 5s}}", "the key attempts"),
        ("version: 1\nqueues: {a: {}}\nretry: {x: {backoff: listed}}", "the key delays"),
        ("version: 1\nqueues: {a: {on: [{error: X, do: ignore, keep: 1}]}}", "from 0 to 0"),
        (
            "version: 1\nqueues: {a: {retry: x}}\n"
            "retry: {x: {attempts: 90, first: 1s, factor: 1.1, cap: 7d}}",
            "at most 32 different retry delays",
        ),
    ],
)
def test_single_faults(text: str, expected: str) -> None:
    """Those that hide others."""
    assert any(expected in problem for problem in _problems(text))


def test_retry_policies_are_computed_when_they_are_read() -> None:
    """Fixed, exponential, listed; jitter stays a number; a "default" replaces the built-in one."""
    spec = _loads(
        """
version: 1
retry:
  fixed: {attempts: 3, backoff: fixed, delay: 30s}
  implied: {attempts: 3, delay: 30s}
  listed: {delays: [250ms, 1h30m]}
  once: {attempts: 1}
  slow: {attempts: 4, first: 30m, factor: 10}
  default: {attempts: 2, first: 1s, jitter: 0.2}
queues: {a: {}, b: {retry: listed, on: [{error: OSError, do: retry, retry: fixed}]}}
"""
    )
    delays = {name: [str(d) for d in policy.delays] for name, policy in spec.retry.items()}
    assert delays == {
        "default": ["0:00:01"],
        "fixed": ["0:00:30", "0:00:30"],
        "implied": ["0:00:30", "0:00:30"],
        "listed": ["0:00:00.250000", "1:30:00"],
        "once": [],
        "slow": ["0:30:00", "1:00:00", "1:00:00"],
    }
    assert spec.retry["default"].jitter == 0.2
    assert spec.steps_of("a") == ()
    assert spec.steps_of("b") == tuple(timedelta(seconds=s) for s in (0.25, 30, 5400))


def test_values_come_from_the_environment() -> None:
    """As everywhere in the config."""
    text = "version: 1\nnamespace: ${NS:-shop}\nqueues:\n  a:\n    concurrency: ${N}\n"
    spec = loads(text, "f", env={"N": "7"})
    assert (spec.namespace, spec.queues["a"].concurrency) == ("shop", 7)
    (problem,) = _problems("version: 1\nqueues: {a: {concurrency: ${N}}}")
    assert "stands in quotes" in problem


def test_raw_objects_are_read_and_kept_off_ours() -> None:
    """A foreign exchange may feed a work queue; nothing may be bound to where publishers write."""
    spec = _loads(
        """
version: 1
namespace: shop
queues: {a: {}}
raw:
  exchanges: {crm: {type: fanout, arguments: {x-odd: [1, {y: true}]}}}
  queues: {shop.x.log: {type: stream}}
  bindings:
    - {from: crm, to_queue: shop.q.a, key: a}
    - {from: shop.events, to_queue: shop.x.log, key: "#"}
    - {from: amq.topic, to_exchange: shop.jobs}
"""
    )
    assert [(b.source, b.destination, b.to_exchange) for b in spec.bindings] == [
        ("crm", "shop.q.a", False),
        ("shop.events", "shop.x.log", False),
        ("amq.topic", "shop.jobs", True),
    ]
    problems = _problems(
        """
version: 1
namespace: shop
queues: {a: {}}
raw:
  exchanges: {amq.mine: {}, shop.fail: {}}
  queues: {shop.q.b: {arguments: {x-max-priority: 5, x-a: 1.5}}}
  bindings:
    - {from: shop.jobs, to_queue: shop.q.a}
    - {from: amq.topic, to_queue: nowhere}
    - {from: amq.topic}
"""
    )
    paths = [problem.split(": ")[1] for problem in problems]
    assert paths == [
        "raw.exchanges.amq.mine",
        "raw.exchanges.shop.fail",
        "raw.queues.shop.q.b.arguments.x-max-priority",
        "raw.queues.shop.q.b",
        "raw.queues.shop.q.b.arguments.x-a",
        "raw.bindings[0].from",
        "raw.bindings[1].to_queue",
        "raw.bindings[2]",
    ]


def test_a_topology_without_a_file_checks_its_names_too() -> None:
    """Queues and namespace come from code there."""
    spec = default_spec("shop", ["주문"])
    assert spec.policy_of("주문").attempts == 5
    for namespace, queue in (("a.b", "q"), ("shop", "q*")):
        with pytest.raises(ConfigError):
            default_spec(namespace, [queue])


def test_a_consumer_timeout_below_the_time_limit_is_a_fault() -> None:
    """Every longer job would be delivered again while it runs."""
    queue = "time_limit: 2h, consumer_timeout: 2h"
    (problem,) = _problems(f"version: 1\nqueues:\n  q: {{{queue}}}\n")
    assert "topology.yaml:3" in problem and "more than the time_limit of 2h" in problem


def test_where_jobs_run_and_when_children_are_replaced() -> None:
    """Sizes have a unit."""
    more = "pool: processes, children: 4, max_jobs_per_child: 100, max_memory_per_child: 512MiB"
    queue = _loads(f"version: 1\nqueues:\n  q: {{{more}}}\n").queues["q"]
    assert (queue.pool, queue.pool_line, queue.children) == ("processes", 3, 4)
    assert (queue.max_jobs_per_child, queue.max_memory_per_child) == (100, 512 * 2**20)


@pytest.mark.parametrize(
    "wrong", ["children: 0", "max_jobs_per_child: -1", "max_memory_per_child: 512",
              "max_memory_per_child: 1KiB", "max_memory_per_child: 12 MB"],
)  # fmt: skip
def test_children_that_cannot_be_are_a_fault(wrong: str) -> None:
    (problem,) = _problems(f"version: 1\nqueues:\n  q: {{{wrong}}}\n")
    assert f"topology.yaml:3: queues.q.{wrong.partition(':')[0]}: expected" in problem

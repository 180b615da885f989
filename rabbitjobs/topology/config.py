"""config/topology.yaml: read it, check all of it, and give it back as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from rabbitjobs.clock import format_duration
from rabbitjobs.fields import Field, root
from rabbitjobs.topology import names
from rabbitjobs.topology.config_limits import read_concurrency, read_rate
from rabbitjobs.topology.config_raw import read_raw
from rabbitjobs.topology.config_retry import read_retries
from rabbitjobs.topology.model import (
    ACTIONS,
    DEFAULT_CONCURRENCY,
    DEFAULT_DELIVERY_LIMIT,
    DEFAULT_IGNORED_KEEP,
    DEFAULT_IGNORED_LENGTH,
    DEFAULT_RETRY,
    LEAST_LONGEST,
    LOSSES,
    NEUTRAL_PRIORITY,
    Action,
    QueueSpec,
    RetryPolicy,
    RuleSpec,
    TopologySpec,
    default_retry,
    exact_steps,
)
from rabbitjobs.yaml import Document, parse, read

MAX_PRIORITIES: Final = 32
MAX_STEPS: Final = 32
_QUEUE_KEYS: Final = (
    "priorities",
    "default_priority",
    "concurrency",
    "prefetch",
    "retry",
    "on",
    "max_length",
    "message_ttl",
    "ordered",
    "review",
    "ignored_keep",
    "delivery_limit",
    "time_limit",
    "consumer_timeout",
    "accept",
    "processes",
    "pool",
    "children",
    "max_jobs_per_child",
    "max_memory_per_child",
    "rate",
)
_COUNT: Final = 2**31 - 1
_LONG: Final = timedelta(days=3000)
_SHORT: Final = timedelta(milliseconds=1)
# An interpreter alone takes about as much.
_LEAST_SIZE: Final = 16 * 2**20


def load(path: Path, *, env: Mapping[str, str] = os.environ) -> TopologySpec:
    """Read a topology from a file; ``env`` fills its ``${NAME}`` values.

    Raises `ConfigError` with every fault of the file: line, what was expected, what was found.
    """
    return _load(read(path, env))


def loads(text: str, file: str, *, env: Mapping[str, str] = os.environ) -> TopologySpec:
    """Read a topology from a text, as `load` does from a file; ``file`` is for the texts."""
    return _load(parse(text, file, env))


def _load(document: Document) -> TopologySpec:
    spec = _spec(document)
    document.raise_problems()
    return spec


def _spec(document: Document) -> TopologySpec:
    top = root(document)
    if not top.given and not document.problems:
        top.fail("a mapping with version and queues", "an empty file")
    top.keys(
        *("version", "namespace", "retry", "delays", "queues", "ignored", "raw"),
        required=("version", "queues"),
    )
    top.child("version").integer(1, least=1, most=1)
    namespace = top.child("namespace").text("rabbitjobs", fault=names.namespace_fault)
    if names.namespace_fault(namespace):
        namespace = "rabbitjobs"  # a stand-in: the fault is noted, and checking goes on
    longest = top.child("delays").keys("longest").child("longest")
    longest_delay = longest.duration(names.LONGEST, least=LEAST_LONGEST, most=names.LONGEST)
    retry = _with_default(read_retries(top.child("retry"), longest_delay))
    queues = _queues(top.child("queues"), namespace, retry)
    ignored = top.child("ignored").keys("max_length", "keep")
    raw = read_raw(top.child("raw"), namespace, queues)
    return TopologySpec(
        namespace=namespace,
        queues=queues,
        retry=retry,
        longest_delay=longest_delay,
        exchanges=raw.exchanges,
        raw_queues=raw.queues,
        bindings=raw.bindings,
        ignored_length=ignored.child("max_length").integer(
            DEFAULT_IGNORED_LENGTH, least=1, most=_COUNT
        ),
        ignored_ttl=ignored.child("keep").duration(DEFAULT_IGNORED_KEEP, least=_SHORT, most=_LONG),
        file=document.file,
        # Without the key the default holds, and the fault is the file's.
        namespace_line=top.child("namespace").line or top.line,
    )


def _with_default(retry: dict[str, RetryPolicy]) -> dict[str, RetryPolicy]:
    return {DEFAULT_RETRY: default_retry(), **retry}


def _queues(field: Field, namespace: str, retry: Mapping[str, RetryPolicy]) -> dict[str, QueueSpec]:
    found: dict[str, QueueSpec] = {}
    for entry in field.entries():
        name = str(entry.path[-1])
        if fault := names.queue_fault(namespace, name):
            entry.fail(fault, repr(name))
        found[name] = _queue(entry, name, retry)
    if field.given and not found:
        field.fail("at least one queue")
    return found


def _queue(field: Field, name: str, retry: Mapping[str, RetryPolicy]) -> QueueSpec:
    field.keys(*_QUEUE_KEYS)
    priorities = field.child("priorities").texts()
    ordered = field.child("ordered").flag()
    least, most = read_concurrency(
        field.child("concurrency"), 1 if ordered else DEFAULT_CONCURRENCY
    )
    queue = QueueSpec(
        name=name,
        priorities=priorities,
        default_priority=field.child("default_priority").choice(priorities) or None,
        concurrency=most,
        prefetch=_optional_count(field.child("prefetch"), most=65535),
        retry=field.child("retry").choice(retry, DEFAULT_RETRY),
        rules=_rules(field.child("on"), retry),
        max_length=_optional_count(field.child("max_length")),
        message_ttl=_optional_duration(field.child("message_ttl")),
        ordered=ordered,
        review_own=field.child("review").choice(("own", "shared"), "shared") == "own",
        ignored_keep=_keep(field.child("ignored_keep")),
        delivery_limit=field.child("delivery_limit").integer(
            DEFAULT_DELIVERY_LIMIT, least=1, most=10_000
        ),
        time_limit=_optional_duration(field.child("time_limit")),
        consumer_timeout=_optional_duration(field.child("consumer_timeout")),
        accept=tuple(item.choice(LOSSES) for item in field.child("accept").items(single=True)),
        processes=field.child("processes").integer(1, least=1, most=4096),
        pool=field.child("pool").text() or None,
        pool_line=field.child("pool").line,
        children=_optional_count(field.child("children"), most=4096),
        max_jobs_per_child=_optional_count(field.child("max_jobs_per_child")),
        max_memory_per_child=_optional_size(field.child("max_memory_per_child")),
        rate=read_rate(field.child("rate")),
        least_concurrency=least,
        line=field.line,
    )
    _check_queue(field, queue, retry)
    return queue


def _check_queue(field: Field, queue: QueueSpec, retry: Mapping[str, RetryPolicy]) -> None:
    if queue.ordered and queue.concurrency != 1:
        field.child("concurrency").fail("1 on an ordered queue (one slot keeps the order)")
    if queue.prefetch is not None and queue.prefetch < queue.concurrency:
        field.child("prefetch").fail(
            f"at least the concurrency of {queue.concurrency} (a slot without a message is idle)"
        )
    if queue.prefetch is not None and queue.least_concurrency is not None:
        field.child("prefetch").fail("no prefetch beside slots that change: it follows them")
    if queue.ordered and queue.prefetch not in (None, 1):
        field.child("prefetch").fail("1 on an ordered queue (one slot keeps the order)")
    if queue.ordered and queue.priorities:
        field.child("priorities").fail("no priorities on an ordered queue: they change the order")
    if queue.ordered and queue.rate is not None:
        field.child("rate").fail("no rate on an ordered queue (what waits loses its place)")
    limit, timeout = queue.time_limit, queue.consumer_timeout
    if limit is not None and timeout is not None and timeout <= limit:
        field.child("consumer_timeout").fail(
            f"more than the time_limit of {format_duration(limit)}, or no consumer_timeout at all: "
            "then it follows from the limit",
            format_duration(timeout),
        )
    usual = queue.usual_priority
    if len(queue.priorities) > MAX_PRIORITIES:
        field.child("priorities").fail(f"at most {MAX_PRIORITIES} priorities")
    elif usual is not None and queue.priorities.index(usual) > NEUTRAL_PRIORITY:
        below = f"at most {NEUTRAL_PRIORITY} priorities below the default ({usual})"
        field.child("priorities").fail(below)
    named = (queue.retry or DEFAULT_RETRY, *(r.retry for r in queue.rules if r.retry))
    steps = exact_steps(tuple(retry[name] for name in named))
    if len(steps) > MAX_STEPS:
        field.fail(
            f"at most {MAX_STEPS} different retry delays, each of which takes a queue "
            "(a cap makes them fewer; jitter sends them all by the shared ladder)",
            str(len(steps)),
        )


def _rules(field: Field, retry: Mapping[str, RetryPolicy]) -> tuple[RuleSpec, ...]:
    found: list[RuleSpec] = []
    final: RuleSpec | None = None
    for item in field.items():
        rule = _rule(item, retry)
        if final:
            item.fail(f"no rule after line {final.line}, which meets every error", "this one")
        if "*" in rule.errors and rule.do != "retry":
            final = final or rule
        found.append(rule)
    return tuple(found)


def _rule(field: Field, retry: Mapping[str, RetryPolicy]) -> RuleSpec:
    field.keys("error", "do", "retry", "then", "keep", required=("error", "do"))
    do = _action(field.child("do"), ACTIONS) or "review"
    for key, needs in (("retry", "retry"), ("then", "notify"), ("keep", "ignore")):
        if field.child(key).given and do != needs:
            field.child(key).fail(f"{key} only with do: {needs}", f"do: {do}")
    return RuleSpec(
        errors=tuple(_error(item) for item in field.child("error").items(single=True)),
        do=do,
        retry=field.child("retry").choice(retry) or None,
        then=_action(field.child("then"), ("retry", "ignore", "review")),
        keep=_keep(field.child("keep")),
        line=field.line,
    )


def _action(field: Field, options: tuple[Action, ...]) -> Action | None:
    chosen = field.choice(options)
    return next((action for action in options if action == chosen), None)


def _error(field: Field) -> str:
    text = field.text("*", fault=_error_fault)
    return text.removeprefix("builtins.")


def _error_fault(text: str) -> str | None:
    if text == "*" or all(part.isidentifier() for part in text.split(".")):
        return None
    return 'the dotted name of an exception, such as smtplib.SMTPException, or "*"'


def _keep(field: Field) -> int | None:
    if not field.given:
        return None
    return field.integer(0, least=0, most=0)


def _optional_count(field: Field, *, most: int = _COUNT) -> int | None:
    return field.integer(1, least=1, most=most) if field.given else None


def _optional_duration(field: Field) -> timedelta | None:
    return field.duration(timedelta(seconds=1), least=_SHORT, most=_LONG) if field.given else None


def _optional_size(field: Field) -> int | None:
    return field.size(_LEAST_SIZE, least=_LEAST_SIZE, most=2**50) if field.given else None

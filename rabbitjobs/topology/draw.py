"""A picture of a topology: as a graph, in Mermaid's language, and as a table for a terminal."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from rabbitjobs.clock import format_duration
from rabbitjobs.topology import names
from rabbitjobs.topology.objects import Binding
from rabbitjobs.topology.plan import Plan

Shape = Literal["exchange", "queue", "ladder", "outside"]


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A box of the picture. ``column`` counts from the left; ``note`` is a second line.

    ``top`` boxes stand in a lane above the others, so that no arrow crosses these.
    """

    id: str
    label: str
    shape: Shape
    column: int
    note: str = ""
    top: bool = False


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """An arrow. ``dashed`` ones are what the broker does by itself when time or tries run out."""

    start: str
    end: str
    label: str = ""
    dashed: bool = False


class Graph(msgspec.Struct, frozen=True):
    """Boxes and arrows; the ladder's levels are one box."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph(plan: Plan) -> Graph:
    """The picture of a plan, the way of a job from left to right."""
    return Graph(tuple(_nodes(plan)), tuple(_edges(plan)))


def _nodes(plan: Plan) -> Iterable[Node]:
    ns = plan.spec.namespace
    yield Node(id="publishers", label="publishers", shape="outside", column=0, top=True)
    yield _exchange(names.delay_exchange(ns), 1)
    yield _exchange(names.jobs_exchange(ns), 3, top=True)
    yield _exchange(names.deliver_exchange(ns), 3)
    for queue in plan.queues:
        if queue.role in ("retry", "landing"):
            ttl = queue.arguments["x-message-ttl"]
            yield _queue(queue.name, 2, f"waits {ttl} ms")
        elif queue.role == "work" and queue.of is not None:
            yield _queue(queue.name, 4, _work_note(plan, queue.of))
    levels = f"{plan.spec.levels} queues: 1 s, 2 s, 4 s ..."
    yield Node(id="ladder", label=f"{ns}.delay.*", shape="ladder", column=2, note=levels)
    yield _exchange(names.fail_exchange(ns), 5)
    for queue in plan.queues:
        if queue.role == "fail":
            column = 4 if queue.name == names.undeliverable_queue(ns) else 6
            yield _queue(queue.name, column, _fail_note(plan, queue.name))
    yield from _raw_nodes(plan)


def _raw_nodes(plan: Plan) -> Iterable[Node]:
    events = names.events_exchange(plan.spec.namespace)
    if any(binding.source == events for binding in plan.spec.bindings):
        yield _exchange(events, 5)
    for exchange in plan.spec.exchanges:
        yield _exchange(exchange.name, 3)
    for queue in plan.spec.raw_queues:
        yield _queue(queue.name, 6, f"raw, {queue.type}")


def _exchange(name: str, column: int, *, top: bool = False) -> Node:
    return Node(id=f"exchange {name}", label=name, shape="exchange", column=column, top=top)


def _queue(name: str, column: int, note: str) -> Node:
    return Node(id=f"queue {name}", label=name, shape="queue", column=column, note=note)


def _work_note(plan: Plan, queue: str) -> str:
    spec = plan.spec.queues[queue]
    least = f"{spec.least_concurrency} to " if spec.least_concurrency is not None else ""
    parts = [f"{least}{spec.concurrency} slots", f"retry: {spec.retry or 'default'}"]
    parts += [str(spec.rate)] if spec.rate is not None else []
    parts += ["ordered"] if spec.ordered else []
    parts += [f"at most {spec.max_length}"] if spec.max_length else []
    parts += [f"{len(spec.priorities)} priorities"] if spec.priorities else []
    return ", ".join(parts)


def _fail_note(plan: Plan, name: str) -> str:
    ns = plan.spec.namespace
    if name == names.ignored_queue(ns):
        return f"the last {plan.spec.ignored_length}, {format_duration(plan.spec.ignored_ttl)}"
    fixed = {
        names.notify_queue(ns): "somebody is told",
        names.quarantine_queue(ns): "unreadable, unknown",
        names.undeliverable_queue(ns): "its queue was gone",
    }
    return fixed.get(name, "a person decides")


def _edges(plan: Plan) -> Iterable[Edge]:
    ns = plan.spec.namespace
    jobs, delay = f"exchange {names.jobs_exchange(ns)}", f"exchange {names.delay_exchange(ns)}"
    deliver, fail = (
        f"exchange {names.deliver_exchange(ns)}",
        f"exchange {names.fail_exchange(ns)}",
    )
    yield Edge(start="publishers", end=jobs, label="jobs")
    yield Edge(start="publishers", end=delay, label="delay=, retries")
    yield Edge(start=delay, end="ladder")
    yield Edge(start="ladder", end=deliver, dashed=True)
    undeliverable = f"queue {names.undeliverable_queue(ns)}"
    yield Edge(start=deliver, end=undeliverable, label="no queue", dashed=True)
    for queue in plan.queues:
        if queue.role == "work":
            yield Edge(start=f"queue {queue.name}", end=fail, label="failed, or too many crashes")
        elif queue.role in ("retry", "landing"):
            yield Edge(start=f"queue {queue.name}", end=deliver, dashed=True)
    for binding in plan.bindings:
        yield from _of_binding(plan, binding)


def _of_binding(plan: Plan, binding: Binding) -> Iterable[Edge]:
    ns = plan.spec.namespace
    levels = {names.delay_level(ns, level) for level in range(plan.spec.levels)}
    hidden = {*levels, names.undeliverable_exchange(ns)}
    to_landing = binding.destination.startswith(f"{ns}.landing.")
    ladder_end = binding.routing_key.startswith("*.") and not to_landing
    if binding.source in hidden or binding.destination in hidden or ladder_end:
        return
    kind = "exchange" if binding.to_exchange else "queue"
    said_by_name = binding.source in (names.delay_exchange(ns), names.deliver_exchange(ns))
    label = "" if said_by_name else binding.routing_key
    end = f"{kind} {binding.destination}"
    yield Edge(start=f"exchange {binding.source}", end=end, label=label)


# --- Mermaid -------------------------------------------------------------------------------------

_MERMAID: Final = {
    "exchange": ("{{", "}}"),
    "queue": ("[(", ")]"),
    "ladder": ("[[", "]]"),
    "outside": ("([", "])"),
}


def mermaid(picture: Graph) -> str:
    """The picture as a Mermaid flow chart, for Markdown that shows one."""
    ids = {node.id: f"n{number}" for number, node in enumerate(picture.nodes)}
    lines = ["flowchart LR"]
    for node in picture.nodes:
        left, right = _MERMAID[node.shape]
        note = f"<br/>{_quoted(node.note)}" if node.note else ""
        lines.append(f'  {ids[node.id]}{left}"{_quoted(node.label)}{note}"{right}')
    for edge in picture.edges:
        if edge.start in ids and edge.end in ids:
            arrow = "-.->" if edge.dashed else "-->"
            label = f'|"{_quoted(edge.label)}"|' if edge.label else ""
            lines.append(f"  {ids[edge.start]} {arrow}{label} {ids[edge.end]}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """Mermaid's own escapes: numbers of signs between # and ;."""
    return "".join(f"#{ord(sign)};" if sign in '#"<>&;`' else sign for sign in text)


# --- a table for a terminal ----------------------------------------------------------------------


def table(plan: Plan) -> str:
    """Every queue with its way in and its way out, in columns, for a terminal."""
    rows = [("queue", "from", "key", "waits", "then")]
    for queue in plan.queues:
        if queue.role == "delay":
            continue
        ways = [b for b in plan.bindings if b.destination == queue.name and not b.to_exchange]
        first = next((b for b in reversed(ways)), None)
        ttl = queue.arguments.get("x-message-ttl")
        exchange = queue.arguments.get("x-dead-letter-exchange", "")
        key = queue.arguments.get("x-dead-letter-routing-key", "")
        rows.append(
            (
                queue.name,
                first.source if first else "",
                _short(first.routing_key) if first else "",
                f"{ttl} ms" if ttl else "",
                f"{exchange} ({key})" if exchange else "",
            )
        )
    ns = plan.spec.namespace
    ladder = f"{ns}.delay.00 to {plan.spec.levels - 1:02}"
    ends = names.deliver_exchange(ns)
    waits = f"1 s to 2^{plan.spec.levels - 1} s"
    rows.append((ladder, names.delay_exchange(ns), "bits", waits, ends))
    return columns(rows)


def _short(key: str) -> str:
    return "(delayed)" if key.startswith("*.") else key


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in columns, the first row a heading; wide signs (Korean) take two places."""
    widths = [max(width(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(padded(cell, size) for cell, size in zip(row, widths, strict=True))
        for row in rows
    ]
    rule = "  ".join("-" * size for size in widths)
    return "\n".join(line.rstrip() for line in (lines[0], rule, *lines[1:])) + "\n"


def width(text: str) -> int:
    """How many places a text takes in a terminal."""
    return sum(0 if unicodedata.combining(sign) else 2 if _is_wide(sign) else 1 for sign in text)


def padded(text: str, size: int, *, right: bool = False) -> str:
    """The text with spaces behind it, or before it, so that it takes ``size`` places."""
    spaces = " " * (size - width(text))
    return spaces + text if right else text + spaces


def _is_wide(sign: str) -> bool:
    return unicodedata.east_asian_width(sign) in ("W", "F")

"""What a page of the review desk costs when very many cases wait there."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import Connection, insert, text
from starlette.applications import Starlette

from benchmarks import bars
from benchmarks.bars import Figure
from benchmarks.contest import BenchError
from rabbitjobs.clock import now, uuid7
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.review import words
from rabbitjobs.review.case import Filters, hash_of
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import Person
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import cases
from rabbitjobs.web.pages import routes

QUEUES = ("emails", "images", "reports", "billing")
STATES = ("open", "open", "open", "closed", "discarded")
BATCH = 1000


def row(number: int, namespace: str) -> dict[str, Any]:
    """A case as wide as they are: 600 bytes of arguments, 2 kB of traceback."""
    body = b'{"args":["%d@example.org"],"kwargs":{"text":"%s"}}' % (number, b"lorem " * 100)
    job, at = f"shop.job{number % 25}", now() - 100_000 + number
    envelope = Envelope(id=uuid7(), job=job, queue=QUEUES[number % 4], body=body)
    error = f"mailbox {number} full"
    return {
        "id": uuid7(), "namespace": namespace, "version": 1, "state": STATES[number % 5],
        "opened": at, "updated": at, "seen": at, "failures": 1, "severity": 0,
        "job_id": envelope.id, "attempt": 3, "job": job, "queue": envelope.queue,
        "reason": "review", "exchange": "shop.fail", "routing_key": "review",
        "source_queue": "shop.review", "kind": "error", "error_type": f"shop.Error{number % 40}",
        "error": error, "classes": "[]", "traceback": "  File \"x.py\", line 1, in f\n" * 70,
        "rule": "default", "deaths": "[]", "envelope": msgspec.msgpack.encode(envelope),
        "properties": msgspec.msgpack.encode(Properties()), "payload": body,
        "payload_hash": hash_of(body), "tags": "[]",
        "search": f"{envelope.id} {job} {error} {body.decode()}".lower(),
        "fingerprint": f"{number % 300:016x}",
        "deadline": at + 1e6 if number % 10 == 0 else None, "deadline_do": None,
    }  # fmt: skip


def fill(store: Store, count: int) -> None:
    """Write the cases."""
    for first in range(0, count, BATCH):
        rows = [row(n, store.namespace) for n in range(first, min(first + BATCH, count))]
        store.run(partial(_write, rows=rows))
    store.run(_analyze)


def _write(connection: Connection, rows: list[dict[str, Any]]) -> None:
    connection.execute(insert(cases), rows)
    for one in rows:
        words.put(connection, one["namespace"], one["id"], one["search"])


def _analyze(connection: Connection) -> None:
    connection.execute(text("ANALYZE"))


def _timed(page: str, look: Callable[[], Any], times: int = 7) -> Figure:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        look()
        taken.append((time.perf_counter() - began) * 1000)
    return Figure(bars.DESK_PAGE, page, statistics.median(taken), "ms")


def _look(desk: Desk) -> Iterator[Figure]:
    """As a browser gets them: desk, template and all, without the guard before them."""
    app = Starlette(routes=routes(lambda _request: desk))
    case = desk.list(Filters(state="open")).cases[0].id
    deep = None
    for _ in range(3):
        deep = desk.list(Filters(state="open", snoozed=False), limit=10_000, after=deep).after
    pages = {
        "open, newest first": "/cases",
        "open, 30,000 further": f"/cases?after={deep or ''}",
        "all, oldest first": "/cases?state=all&sort=oldest",
        "open, last touched first": "/cases?sort=updated",
        "open, by deadline": "/cases?sort=deadline",
        "open of one queue": "/cases?queue=billing",
        "of a queue without cases": "/cases?state=all&queue=nothing",
        "with a text that many have": "/cases?q=mailbox",
        "with a text that one has": "/cases?state=all&q=mailbox+50000+full",
        "with a text that none has": "/cases?q=nowhere",
        "of one cause": f"/cases?group={7:016x}",
        "groups": "/groups",
        "one case": f"/cases/{case}",
        "editing it": f"/cases/{case}/edit",
        "bulk": "/bulk/new",
        "audit": "/audit",
    }
    with asyncio.Runner() as runner:
        transport = httpx.ASGITransport(_As(app, Person(name="ann", role="admin")))
        client = httpx.AsyncClient(transport=transport, base_url="http://desk.example")

        def get(path: str) -> None:
            page = runner.run(client.get(path))
            if page.status_code != HTTPStatus.OK:
                raise BenchError(f"{path}: expected a page, got {page.status_code}: {page.text}")

        for name, path in pages.items():
            yield _timed(name, partial(get, path))
        runner.run(client.aclose())


class _As:
    """Somebody looks."""

    def __init__(self, app: Any, person: Person) -> None:
        self._app, self._person = app, person

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": {"person": self._person, "csrf": "x"}}, receive, send)


def desk_pages(count: int) -> Iterator[Figure]:
    """Milliseconds of server time for each kind of page with so many cases, in a SQLite file."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'desk.db'}", namespace="bench")
        store.migrate()
        fill(store, count)
        found = list(_look(Desk(store, lambda _row: None, lambda _job, _body: None)))
        store.close()
    yield from found
    yield Figure(bars.DESK_PAGE, bars.SLOWEST, max(one.value for one in found), "ms")

"""What a page of the review desk costs with 100,000 cases: ``python -m benchmarks.desk_pages``.

``--store URL`` names a database of your own (it gets a namespace of its own and keeps the cases);
without it a SQLite file in a temporary folder is used. Prints the median and the worst of each
kind of page in milliseconds; confirms nothing and sends nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
from sqlalchemy import Connection, insert, text

from rabbitjobs.clock import now, uuid7
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.review import words
from rabbitjobs.review.case import Filters, hash_of
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import Person
from rabbitjobs.store.engine import Store
from rabbitjobs.store.schema import cases

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


def timed(name: str, look: Callable[[], Any], times: int = 7) -> None:
    """Print what one look costs."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        look()
        taken.append((time.perf_counter() - began) * 1000)
    print(f"{name:44} {statistics.median(taken):8.1f} ms   worst {max(taken):8.1f} ms", flush=True)


def measure(desk: Desk) -> None:
    """Every kind of page."""
    waiting = Filters(state="open", snoozed=False)
    timed("open, newest first", lambda: desk.list(waiting))
    deep = None
    for _ in range(3):
        deep = desk.list(waiting, limit=10_000, after=deep).after
    timed("the same, 30,000 cases further", lambda: desk.list(waiting, after=deep))
    timed("all, oldest first", lambda: desk.list(sort="oldest"))
    timed("open, last touched first", lambda: desk.list(waiting, sort="updated"))
    timed("open, by deadline", lambda: desk.list(waiting, sort="deadline"))
    timed("open of one queue", lambda: desk.list(Filters(state="open", queue="billing")))
    timed("of a queue without cases", lambda: desk.list(Filters(queue="nothing")))
    timed(
        "of one job and error",
        lambda: desk.list(Filters(job="shop.job3", error_type="shop.Error3")),
    )
    timed("of one cause", lambda: desk.list(Filters(fingerprint=f"{7:016x}")))
    timed("of one owner, who has none", lambda: desk.list(Filters(owner="ann")))
    timed("with a text that many have", lambda: desk.list(Filters(state="open", text="mailbox")))
    timed("with a text that one has", lambda: desk.list(Filters(text="mailbox 50000 full")))
    timed("with a text that none has", lambda: desk.list(Filters(state="open", text="nowhere")))
    timed("groups of all", desk.groups)
    timed("groups of what is open", lambda: desk.groups(Filters(state="open")))
    timed("groups of one queue", lambda: desk.groups(Filters(queue="billing")))
    timed("counts", desk.stats)


def measure_web(desk: Desk) -> None:
    """The pages as a browser gets them: desk, template and all, without the guard before them."""
    from starlette.applications import Starlette

    from rabbitjobs.web.pages import routes

    app = Starlette(routes=routes(lambda _request: desk))
    case = desk.list(Filters(state="open")).cases[0].id
    with asyncio.Runner() as runner:
        transport = httpx.ASGITransport(_As(app, Person(name="ann", role="admin")))
        client = httpx.AsyncClient(transport=transport, base_url="http://desk.example")

        def get(path: str) -> None:
            page = runner.run(client.get(path))
            assert page.status_code == 200, page.text

        for path in ("/cases", "/cases?state=all&sort=oldest", "/cases?q=mailbox+50000+full",
                     "/cases?state=open&queue=billing", f"/cases?group={7:016x}", "/groups",
                     f"/cases/{case}", f"/cases/{case}/edit", "/bulk/new", "/audit"):  # fmt: skip
            timed(f"web {path[:36]}", partial(get, path))
        runner.run(client.aclose())


class _As:
    """Somebody looks."""

    def __init__(self, app: Any, person: Person) -> None:
        self._app, self._person = app, person

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app({**scope, "state": {"person": self._person, "csrf": "x"}}, receive, send)


def main() -> None:
    """Fill a store and look at it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--store")
    options.add_argument("--cases", type=int, default=100_000)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = given.store or f"sqlite:///{Path(folder) / 'desk.db'}"
        store = Store(url, namespace=f"bench-{uuid7()}")
        store.migrate()
        began = time.perf_counter()
        fill(store, given.cases)
        print(f"{given.cases:,} cases written in {time.perf_counter() - began:.1f} s", flush=True)
        desk = Desk(store, lambda _row: None, lambda _job, _body: None)
        measure(desk)
        measure_web(desk)
        store.close()


if __name__ == "__main__":
    main()

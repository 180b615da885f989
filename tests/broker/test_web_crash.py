"""``rabbitjobs web`` is killed at every place where it could lose or double a release."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from rabbitjobs.broker.layout import free_ports
from rabbitjobs.broker.node import Node
from rabbitjobs.failpoints import EXIT_CODE
from rabbitjobs.store.schema import outbox
from tests.broker.crew import Crew, Worker, crew, until

CODE = """
from pathlib import Path

from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("mail", queue="emails")
def mail(number: int) -> int:
    if not Path("mended").exists():
        raise ValueError("the mail server is down")
    with open("done", "a") as done:
        print(number, file=done)
    return number
"""
TOPOLOGY = """
version: 1
namespace: shop
retry:
  quick: {delays: [50ms]}
queues:
  emails: {retry: quick}
"""


class Office:
    """Three cases on the desk of a shop whose fault is mended, and the web server before it."""

    def __init__(self, shop: Crew, port: int) -> None:
        self.shop = shop
        self.port = port
        shop.start("intake")
        shop.consume("emails")
        remote = shop.app.remote("mail", queue="emails")
        self.jobs = [remote.send(number).id for number in range(3)]
        until(lambda: shop.app.desk.stats().states.get("open") == 3)
        (shop.folder / "mended").touch()

    def serve(self, *wrapped: str) -> Worker:
        """Start the web server; returns once it answers."""
        server = self.shop.start("web", "--port", str(self.port), wrapped=wrapped)
        until(self._answers, why=lambda: server.log)
        return server

    def post(self, path: str, version: int = 0, **body: object) -> httpx.Response:
        """Call the API from this machine."""
        url = f"http://127.0.0.1:{self.port}/api{path}"
        return httpx.post(url, json=body, headers={"If-Match": f'"{version}"'}, timeout=60)

    def wait_less(self, place: str) -> None:
        """What the dead server had promised and not sent comes 25 s earlier than it would."""
        if place != "after-release-commit":
            return
        store = self.shop.app.parts.store
        assert store is not None
        sooner = update(outbox).values(leased_until=outbox.c.leased_until - 25)
        assert store.run(lambda connection: connection.execute(sooner).rowcount) == 1

    def _answers(self) -> bool:
        with socket.socket() as line:
            line.settimeout(0.5)
            return line.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def office(node: Node, tmp_path: Path) -> Iterator[Office]:
    (port,) = free_ports(1)
    with crew(node, tmp_path, CODE, TOPOLOGY) as shop:
        yield Office(shop, port)


@pytest.mark.parametrize("place", ["after-release-commit", "after-release-confirm"])
def test_a_retry_whose_server_is_killed_is_sent_once(office: Office, place: str) -> None:
    """The caller has no answer; the relay has the promise, the case is closed by its job's end."""
    desk = office.shop.app.desk
    (case, *_) = desk.list().cases
    server = office.serve("env", f"RABBITJOBS_FAILPOINT={place}")
    with contextlib.suppress(httpx.TransportError):
        office.post(f"/cases/{case.id}/retry", case.version)
    assert server.ends() == EXIT_CODE
    office.wait_less(place)
    office.serve()
    again = office.post(f"/cases/{case.id}/retry", case.version)
    assert again.status_code == 412  # what he saw is no more: nothing is sent twice
    until(lambda: desk.get(case.id).state == "closed", why=lambda: desk.get(case.id))
    assert len(office.shop.lines()) == 1
    assert desk.verify(case.id) is None


@pytest.mark.parametrize(
    "place", ["after-bulk-item", "after-release-commit", "after-release-confirm"]
)
def test_a_bulk_action_whose_server_is_killed_is_gone_on_with(office: Office, place: str) -> None:
    """By one more call of run, behind what was done: each job once."""
    desk = office.shop.app.desk
    server = office.serve("env", f"RABBITJOBS_FAILPOINT={place}")
    bulk = office.post("/bulks", action="retry", filters={}).json()
    assert bulk["total"] == 3
    with contextlib.suppress(httpx.TransportError):
        office.post(f"/bulks/{bulk['id']}/run")
    assert server.ends() == EXIT_CODE
    office.wait_less(place)
    office.serve()
    assert office.post(f"/bulks/{bulk['id']}/run").status_code == 202
    until(lambda: desk.stats().states == {"closed": 3}, why=desk.stats)
    assert sorted(office.shop.lines()) == ["0", "1", "2"]
    assert desk.bulk.get(bulk["id"]).counts == {"succeeded": 3}

"""A desk behind its web server, without sockets: a store, a broker in memory, people, cases."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.version import from_version
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from rabbitjobs.testing.memory import declare_plan
from rabbitjobs.topology.plan import compile_plan
from rabbitjobs.web.app import web_app
from rabbitjobs.web.tokens import Tokens
from rabbitjobs.wire.memory import MemoryBroker, MemoryWire

HOST = "desk.shop.example"
SITE = f"https://{HOST}"
HERE = "http://localhost:8642"
PASSWORDS = {"ann": "correct horse battery", "bob": "staple of the bob", "vic": "only looking 123"}
REVIEW = """
review:
  people:
    ann: {role: admin}
    bob: {role: reviewer, queues: [emails]}
    vic: {role: viewer}
    robot: {role: reviewer}
  jobs:
    mail: {sensitive: [kwargs.card], locked: [kwargs.invoice]}
"""
TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {emails: {}, images: {}}\n"
# Real costs would take a quarter of a second for each login.
_QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def people_in_config() -> str:
    """``web:`` with a password for each."""
    lines = [f'    {name}: {{password: "{_QUICK.hash(word)}"}}' for name, word in PASSWORDS.items()]
    return "\n".join(["web:", f"  hosts: [{HOST}]", "  people:", *lines, ""])


class WebDesk:
    """The app, its store and its pages. ``now`` is what the doors take for the time."""

    def __init__(self, app: RabbitJobs, broker: MemoryBroker) -> None:
        self.app = app
        self.broker = broker
        self.later = 0.0
        self._numbers = iter(range(10_000))

        @app.job("mail", queue="emails")
        def mail(to: str, *, card: str = "", invoice: int = 0) -> str:
            return to

        @app.job("picture", queue="images")
        def picture(name: str) -> str:
            return name

    @property
    def store(self) -> Store:
        store = self.app.parts.store
        assert store is not None
        return store

    def now(self) -> float:
        return time.time() + self.later

    def site(self, **options: Any) -> Starlette:
        """The pages and the API of this desk."""
        return web_app(self.app, now=self.now, **options)

    def client(
        self,
        base: str = SITE,
        *,
        site: Any = None,
        peer: str = "203.0.113.7",
        headers: dict[str, str] | None = None,
    ) -> TestClient:
        """A browser somewhere, which follows no redirects by itself."""
        return TestClient(
            site or self.site(),
            base_url=base,
            client=(peer, 50000),
            follow_redirects=False,
            headers=headers,
        )

    def browser(self, who: str, *, site: Any = None) -> TestClient:
        """A browser in which ``who`` is logged in."""
        client = self.client(site=site)
        answer = log_in(client, who)
        assert answer.status_code == 303, answer.text
        return client

    def token(self, who: str = "ann", role: Any = "admin") -> str:
        """The text of a new API token."""
        person = self.app.desk.options.person(who)
        made = Tokens(lambda: self.store, self.now).make(
            person, name="test", role=role, keep=timedelta(days=1), by="tests"
        )
        return made.text

    def program(self, who: str = "ann", role: Any = "admin", *, site: Any = None) -> TestClient:
        """A program with a token."""
        headers = {"Authorization": f"Bearer {self.token(who, role)}"}
        return self.client(site=site, headers=headers)

    def case(
        self, *, job: str = "mail", queue: str = "emails", error: str = "full", **kwargs: Any
    ) -> str:
        """A case on the desk; returns its id."""
        body = {"args": ["a@shop.example"], "kwargs": kwargs}
        envelope = Envelope(
            id=f"job-{next(self._numbers)}",
            job=job,
            queue=queue,
            body=json.dumps(body).encode(),
            history=(
                AttemptRecord(attempt=1, started=1.0, seconds=0.5, error_type="E", error="late"),
            ),
        )
        message = FailedMessage(
            envelope=envelope,
            failure=Failure(kind="error", error_type="SMTPDataError", error=error),
            decision_rule="default: then review",
            raw=envelope.body,
            properties=Properties(message_id="m", timestamp=1),
            reason="review",
            queue="shop.review",
        )
        return take_in(self.store, message)


def log_in(client: TestClient, who: str, password: str | None = None, **fields: str) -> Any:
    """Post the login form as a browser does: with the token of the form that it was shown."""
    form = client.get("/login")
    given = {"name": who, "password": PASSWORDS.get(who, "") if password is None else password}
    return client.post("/login", data={"csrf": csrf_in(form.text), **given, **fields})


def csrf_in(page: str) -> str:
    """The token in the forms of a page."""
    found = re.search(r'name="csrf" value="([0-9a-f]+)"', page)
    assert found, page
    return found[1]


def form_of(browser: TestClient, case_id: str) -> dict[str, str]:
    """The hidden fields of a form on the page of a case."""
    page = browser.get(f"/cases/{case_id}").text
    version = re.search(r'name="version" value="(\d+)"', page)
    assert version, page
    return {"csrf": csrf_in(page), "version": version[1]}


@contextmanager
def web_desk(folder: Path, config: str | None = None) -> Iterator[WebDesk]:
    """A desk with people, or with the ``config`` given."""
    folder.mkdir(exist_ok=True)
    config = REVIEW + people_in_config() if config is None else config
    store = f'store: {{url: "sqlite:///{folder / "store.db"}"}}\n'
    (folder / "rabbitjobs.yaml").write_text(config + store)
    (folder / "topology.yaml").write_text(TOPOLOGY)
    broker = MemoryBroker()
    app = RabbitJobs(config=folder, url="amqp://127.0.0.1", wire=lambda: MemoryWire(broker))
    declare_plan(broker, compile_plan(app.spec, from_version(broker.version)))
    try:
        yield WebDesk(app, broker)
    finally:
        app.close()

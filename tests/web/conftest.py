"""The pages on a real SQLite store, behind a guard of a few lines: who looks says a header."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from rabbitjobs.clock import uuid7
from rabbitjobs.message.arguments import Arguments
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeskOptions, FieldRules, Person
from rabbitjobs.store.engine import Store
from rabbitjobs.web.pages import routes
from tests.backends.desk_broker import Broker
from tests.backends.failed_message import failed_message

OPTIONS = DeskOptions(
    people={
        "top": Person(name="top", role="admin"),
        "ann": Person(name="ann", role="reviewer"),
        "bob": Person(name="bob", role="reviewer"),
        "cat": Person(name="cat", role="reviewer", queues=("images",)),
        "vic": Person(name="vic", role="viewer"),
    },
    jobs={
        "shop.mail": FieldRules(locked=("kwargs.invoice",), sensitive=("kwargs.card",)),
    },
)
CSRF = "the-token"


def mail(to: str, copies: int = 1, *, invoice: str = "", card: str = "", text: str = "") -> None:
    """The job of these tests."""


class Guarded:
    """Sets what the real guard sets: the person, from a header, and the token of his forms."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        who = headers.get(b"x-who", b"ann").decode()
        scope["state"] = {"person": OPTIONS.person(who), "csrf": CSRF}
        await self._app(scope, receive, send)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", namespace=uuid7())
    yield store
    store.close()


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def desk(store: Store, broker: Broker) -> Desk:
    arguments = Arguments(mail)
    return Desk(
        store,
        broker,
        lambda _job, body: arguments.decode(body) and None,
        options=OPTIONS,
        parameters=lambda _job: arguments.parameters,
    )


@pytest.fixture
async def web(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without scripts; ``x-who`` says who sits at it (ann)."""
    app = Starlette(
        routes=routes(
            lambda request: desk.reached_by("web"), queues=lambda: ["emails", "images", "slow"]
        )
    )
    transport = httpx.ASGITransport(Guarded(app))
    async with httpx.AsyncClient(transport=transport, base_url="http://desk.test") as client:
        yield client


@pytest.fixture
def failed() -> Callable[..., FailedMessage]:
    """Build a message of the review queue."""

    def build(
        body: bytes = b'{"args":["a@example.org"],"kwargs":{}}', **changes: Any
    ) -> FailedMessage:
        return failed_message(attempt=3, body=body, **changes)

    return build


@pytest.fixture
def land(store: Store, desk: Desk, failed: Callable[..., FailedMessage]) -> Callable[..., Case]:
    """Put a case on the desk."""
    return lambda *given, **changes: desk.get(take_in(store, failed(*given, **changes)))

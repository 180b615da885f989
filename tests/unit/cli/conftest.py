"""A desk behind the command line: a store, a broker that takes everything, cases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rabbitjobs.cli.review import review
from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DEFAULT, DeskOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import OutboxRow

Run = Callable[..., Result]


@pytest.fixture
def options() -> DeskOptions:
    """How the desk is set up: as it is without a config."""
    return DEFAULT


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A SQLite store."""
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", namespace="shop")
    store.migrate()
    yield store
    store.close()


@pytest.fixture
def sent() -> list[OutboxRow]:
    """What the desk has published."""
    return []


@pytest.fixture
def run(store: Store, sent: list[OutboxRow], options: DeskOptions) -> Run:
    """Run a command against an app with a desk."""

    def validate(_job: str, body: bytes) -> None:
        if json.loads(body)["args"] == ["bad"]:
            raise ArgumentsRefused("to: expected an address, got 'bad'")

    desk = Desk(store, sent.append, validate, options=options)
    app = SimpleNamespace(desk=desk, parts=SimpleNamespace(store=store))
    context = SimpleNamespace(app=lambda: app)

    def invoke(*arguments: str, group: Any = review, code: int = 0) -> Result:
        result = CliRunner().invoke(group, arguments, obj=context)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result

    return invoke


@pytest.fixture
def make(store: Store) -> Callable[..., str]:
    """Make a case; returns its id."""
    numbers = iter(range(1000))

    def build(*, error: str = "mailbox full", arg: str = "a@example.org") -> str:
        envelope = Envelope(
            id=f"job-{next(numbers)}",
            job="shop.mail",
            queue="emails",
            body=json.dumps({"args": [arg], "kwargs": {}}, separators=(",", ":")).encode(),
            history=(
                AttemptRecord(attempt=1, started=1.0, seconds=0.5, error_type="E", error="late"),
            ),
        )
        message = FailedMessage(
            envelope=envelope,
            failure=Failure(kind="error", error_type="smtplib.SMTPDataError", error=error),
            decision_rule="default: then review",
            raw=envelope.body,
            properties=Properties(message_id="m", timestamp=1),
            reason="review",
            queue="shop.review",
        )
        return take_in(store, message)

    return build

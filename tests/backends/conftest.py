"""The same tests on every database: SQLite always, PostgreSQL when the environment names one.

``make test-backends`` starts a private PostgreSQL and sets RABBITJOBS_TEST_POSTGRES_URL; each run
makes a database of its own there, and each test a namespace of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text

from rabbitjobs.backend.protocol import Record, Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.clock import now, uuid7
from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker
from tests.backends.failed_message import failed_message

POSTGRES = os.environ.get("RABBITJOBS_TEST_POSTGRES_URL")
BACKENDS = ["sqlite", "postgresql"] if POSTGRES else ["sqlite"]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A migrated database for this run, dropped at its end."""
    assert POSTGRES is not None
    admin = make_url(POSTGRES).set(drivername="postgresql+psycopg")
    name = "rj_test_" + uuid7().replace("-", "")
    engine = create_engine(admin, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    url = admin.set(database=name).render_as_string(hide_password=False)
    store = Store(url)
    store.migrate()
    store.close()
    yield url
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture(params=BACKENDS)
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a migrated store."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A store in a namespace of its own."""
    store = Store(store_url, namespace=uuid7())
    yield store
    store.close()


@pytest.fixture
def backend(store: Store) -> SqlBackend:
    """Recorder and results on the store."""
    return SqlBackend(store)


@pytest.fixture
def outcome() -> Callable[..., Record]:
    """Build a record: ``outcome("id", status=Status.FAILED)``."""

    def build(job_id: str, attempt: int = 1, **changes: Any) -> Record:
        at = now()
        values: dict[str, Any] = {
            "job": "shop.mail",
            "queue": "emails",
            "status": Status.SUCCEEDED,
            "enqueued": at,
            "started": at,
            "ended": at,
            "keep": 3600.0,
            "worker": "host-1",
        }
        return Record(job_id=job_id, attempt=attempt, **(values | changes))

    return build


@pytest.fixture
def failed() -> Callable[..., FailedMessage]:
    """Build a message of the review queue: ``failed("id", attempt=3)``."""

    return failed_message


@pytest.fixture
def broker() -> Broker:
    """The broker behind the desk."""
    return Broker()


@pytest.fixture
def desk(store: Store, broker: Broker) -> Desk:
    """A desk whose job refuses arguments with 'bad' in them."""

    def validate(job: str, body: bytes) -> None:
        assert job == "shop.mail"
        if b"bad" in body:
            raise ArgumentsRefused("to: expected an address, got 'bad'")

    return Desk(store, broker, validate)


@pytest.fixture
def case(store: Store, desk: Desk, failed: Callable[..., FailedMessage]) -> Case:
    """One open case of a job that failed in attempt 3."""
    return desk.get(take_in(store, failed(uuid7(), 3)))

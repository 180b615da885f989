"""Cases of an older release come along: they are listed, searched and acted on as new ones."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.review.case import Filters, hash_of
from rabbitjobs.review.desk import Desk
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import OutboxRow


def an_old_store(path: Path) -> None:
    """A store of the release before the desk had groups, with one case in it."""
    store = Store(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", "rabbitjobs.store:migrations")
    config.set_main_option("path_separator", "os")

    def upgrade(connection: Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")

    store._transaction(store._writer, upgrade)
    store.close()
    envelope = Envelope(id="j1", job="shop.mail", queue="emails", body=b'{"args":[1]}')
    row = {
        "id": "c1", "namespace": "shop", "version": 1, "state": "open", "opened": 5.0,
        "updated": 9.0, "attempt": 1, "job_id": "j1", "job": "shop.mail", "queue": "emails",
        "reason": "review", "exchange": "", "routing_key": "", "source_queue": "", "kind": "error",
        "error_type": "E", "error": "mailbox full", "classes": "[]", "traceback": "", "rule": "",
        "deaths": "[]", "envelope": msgspec.msgpack.encode(envelope), "tags": "[]",
        "properties": msgspec.msgpack.encode(Properties()), "payload": envelope.body,
        "payload_hash": hash_of(envelope.body), "search": "j1 shop.mail e mailbox full",
    }  # fmt: skip
    with sqlite3.connect(path) as connection:
        marks = ", ".join("?" * len(row))
        connection.execute(
            f"INSERT INTO rj_cases ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
        )
        connection.execute(
            "INSERT INTO rj_audit (case_id, at, who, action, detail, version) "
            "VALUES ('c1', 5.0, 'intake', 'open', '', 1)"
        )
    connection.close()


def test_a_case_of_an_older_release_comes_along(tmp_path: Path) -> None:
    """It was last seen when it was last touched, and gets its group and words by the upkeep."""
    an_old_store(tmp_path / "store.db")
    store = Store(f"sqlite:///{tmp_path / 'store.db'}", namespace="shop")
    sent: list[OutboxRow] = []
    desk = Desk(store, sent.append, lambda _job, _body: None)
    (line,) = desk.list(Filters(state="open", snoozed=False, claimed=False)).cases
    assert (line.seen, line.failures, line.severity) == (9.0, 1, 0)
    assert desk.keep_up().mended == 1
    (group,) = desk.groups().groups
    assert (group.total, group.first_seen, group.last_seen) == (1, 5.0, 9.0)
    assert len(desk.list(Filters(text="mailbox")).cases) == 1
    assert desk.verify("c1") is None
    desk.retry("c1", who="ann", version=1)
    assert desk.verify("c1") is None
    assert [row.action for row in desk.audit("c1")] == ["open", "retry", "released"]
    assert len(sent) == 1
    store.close()

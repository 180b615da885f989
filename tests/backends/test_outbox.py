"""The outbox: a promise made in a transaction is kept, by whichever relay comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import StoreError, StoreOutdated
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.store import outbox
from rabbitjobs.store.connect import parse_url
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox


def an_envelope(**changes: object) -> Envelope:
    values = {"id": uuid7(), "job": "shop.mail", "queue": "emails", "body": b"{}", "due": 5.0}
    return Envelope(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("as_session", [True, False])
def test_a_promise_counts_when_the_users_transaction_commits(
    store: Store, store_url: str, as_session: bool
) -> None:
    """On the user's own engine, as a Connection or a Session; rolled back, nothing was promised."""
    store.migrate()
    engine = create_engine(parse_url(store_url))
    kept, dropped = an_envelope(), an_envelope()
    with engine.connect() as connection, Session(connection) as session:
        tx = session if as_session else connection
        outbox.put(tx, store.namespace, dropped)
        tx.rollback()
        outbox.put(tx, store.namespace, kept, delay=2.5)
        tx.commit()
    engine.dispose()
    (row,) = Outbox(store).take()
    assert (row.envelope, row.queue, row.delay, row.tries) == (kept, "emails", 2.5, 1)


@pytest.mark.parametrize("as_session", [True, False])
def test_whoever_promised_hears_of_a_rollback_and_of_nothing_else(
    store: Store, store_url: str, as_session: bool
) -> None:
    """A whole transaction, a savepoint, a block that raises; never a commit, and each once."""
    store.migrate()
    engine = create_engine(parse_url(store_url))
    told: list[str] = []

    def put(name: str) -> None:
        outbox.put(tx, store.namespace, an_envelope(), undone=lambda: told.append(name))

    with engine.connect() as connection, Session(connection) as session:
        tx = session if as_session else connection
        put("rolled back")
        tx.rollback()
        put("kept")
        tx.commit()
        tx.rollback()
        put("before the savepoint")
        savepoint = tx.begin_nested()
        put("after the savepoint")
        savepoint.rollback()
        tx.commit()
        put("left open")
    engine.dispose()
    assert told == ["rolled back", "after the savepoint", "left open"]
    assert len(Outbox(store).take()) == 2


def test_a_transaction_elsewhere_is_refused_in_words(store: Store) -> None:
    """The user's transaction must be on the store's database: the outbox is there."""
    engine = create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(StoreOutdated, match="rj_outbox"):
        outbox.put(connection, store.namespace, an_envelope())
    engine.dispose()


@pytest.mark.parametrize("wrong", [None, "session", object()])
def test_what_is_no_transaction_is_refused(wrong: object) -> None:
    """By name of what is expected."""
    with pytest.raises(StoreError, match="Connection or Session"):
        outbox.put(wrong, "shop", an_envelope())


def test_rows_are_leased_in_order_and_go_when_published(store: Store) -> None:
    """A leased row is nobody else's until its lease ends; a published one is gone."""
    relay = Outbox(store)
    sent = [an_envelope() for _ in range(5)]
    for envelope in sent:
        store.run(partial(outbox.put, namespace=store.namespace, envelope=envelope))
    first = relay.take(3)
    second = Outbox(store).take(10)
    assert [row.envelope for row in first + second] == sent
    assert relay.take() == []
    relay.published(first)
    assert relay.waiting() == 2


def test_many_relays_take_each_row_once(store: Store, store_url: str) -> None:
    """And no more than they asked for."""
    for _ in range(60):
        store.run(lambda c: outbox.put(c, store.namespace, an_envelope()))
    taken: list[int] = []

    def relay() -> None:
        own = Store(store_url, namespace=store.namespace)
        while rows := Outbox(own).take(7):
            assert len(rows) <= 7
            taken.extend(row.id for row in rows)
        own.close()

    threads = [threading.Thread(target=relay) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken) == len(set(taken)) == 60


def test_a_dead_relay_leaves_its_rows_to_the_next(store: Store) -> None:
    """The lease ends, and the row is there again with its tries counted."""
    store.run(lambda c: outbox.put(c, store.namespace, an_envelope()))
    assert len(Outbox(store).take(lease=-1.0)) == 1
    (row,) = Outbox(store).take()
    assert row.tries == 2


async def test_a_postponed_row_comes_again(store: Store) -> None:
    """What could not be published waits; its reason is kept."""
    relay = Outbox(store)
    store.run(lambda c: outbox.put(c, store.namespace, an_envelope()))
    (row,) = await relay.atake()
    await relay.apostpone(row, "queue full", 3600)
    assert await relay.atake() == []
    relay.postpone(row, "queue full", -1)
    (row,) = await relay.atake()
    await relay.apublished([row])
    assert relay.waiting() == 0


def test_relays_of_other_namespaces_take_nothing(store: Store, store_url: str) -> None:
    """Each app publishes its own."""
    store.run(lambda c: outbox.put(c, store.namespace, an_envelope()))
    other = Store(store_url, namespace=uuid7())
    assert Outbox(other).take() == []
    other.close()


class AsyncTransaction:
    """The one method of ``AsyncSession`` and ``AsyncConnection`` that counts here."""

    def __init__(self, inner: Session) -> None:
        self.inner = inner

    async def run_sync(
        self, function: Callable[..., object], *args: object, **kw: object
    ) -> object:
        """As SQLAlchemy's: the function gets the plain session first."""
        return function(self.inner, *args, **kw)


async def test_an_async_transaction_may_promise_too(store: Store, store_url: str) -> None:
    """``AsyncSession`` and ``AsyncConnection``; the plain ones as well."""
    store.migrate()
    engine = create_engine(parse_url(store_url))
    with Session(engine) as session, session.begin():
        tx = AsyncTransaction(session)
        await outbox.aput(tx, store.namespace, an_envelope())
        await outbox.aput(session, store.namespace, an_envelope())
    engine.dispose()
    assert Outbox(store).waiting() == 2


def test_an_envelope_of_any_shape_survives(store: Store) -> None:
    """The row holds the envelope to the last byte."""
    envelope = an_envelope(body=bytes(range(256)), release="r", case="c", priority=3, unique="주문")
    store.run(lambda c: outbox.put(c, store.namespace, envelope))
    (row,) = Outbox(store).take()
    assert row.envelope == envelope
    assert store.read(lambda c: c.execute(text("SELECT count(*) FROM rj_outbox")).scalar())

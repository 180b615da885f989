"""The store itself: shared commits, failures that stay with their cause, schema, forks."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from rabbitjobs.clock import uuid7
from rabbitjobs.errors import StoreOutdated, StoreUnavailable
from rabbitjobs.store import lane
from rabbitjobs.store.connect import parse_url
from rabbitjobs.store.engine import Store
from rabbitjobs.store.fresh import REVISIONS, VERSION_TABLE
from rabbitjobs.store.schema import metadata

INSERT = text("INSERT INTO rj_unique (namespace, key, job_id, until) VALUES (:n, :k, 'j', 0)")


def put_key(store: Store, key: str) -> Callable[[Connection], str]:
    def write(connection: Connection) -> str:
        connection.execute(INSERT, {"n": store.namespace, "k": key})
        return key

    return write


def keys(store: Store) -> list[str]:
    query = text("SELECT key FROM rj_unique WHERE namespace = :n ORDER BY key")
    return list(store.read(lambda c: c.execute(query, {"n": store.namespace}).scalars()))


def hold(store: Store) -> threading.Event:
    """Keep the writer busy until the event is set: what comes meanwhile is one batch."""
    go, entered = threading.Event(), threading.Event()

    def wait(_connection: Connection) -> None:
        entered.set()
        go.wait(60)

    store.submit(wait)
    assert entered.wait(60)
    return go


def count_commits(store: Store) -> list[object]:
    commits: list[object] = []
    event.listen(store._writer, "commit", commits.append)
    return commits


def test_what_waits_shares_one_commit(store: Store) -> None:
    """The size of a group follows the load."""
    store.run(put_key(store, "first"))
    commits = count_commits(store)
    go = hold(store)
    futures = [store.submit(put_key(store, f"k{n:02}")) for n in range(20)]
    go.set()
    assert [future.result(60) for future in futures] == [f"k{n:02}" for n in range(20)]
    assert len(commits) == 2
    assert len(keys(store)) == 21


def test_a_bad_write_fails_nobody_else(store: Store) -> None:
    """Its neighbours in the batch are committed; its own effect is undone."""
    store.run(put_key(store, "taken"))

    def half(connection: Connection) -> None:
        put_key(store, "half")(connection)
        raise ZeroDivisionError

    go = hold(store)
    good = store.submit(put_key(store, "a"))
    bad = store.submit(half)
    double = store.submit(put_key(store, "taken"))
    also_good = store.submit(put_key(store, "b"))
    go.set()
    assert (good.result(60), also_good.result(60)) == ("a", "b")
    with pytest.raises(ZeroDivisionError):
        bad.result(60)
    assert type(double.exception(60)).__name__ == "IntegrityError"
    assert keys(store) == ["a", "b", "taken"]


def test_bulk_work_is_one_call_for_all_that_waits(store: Store) -> None:
    """And each item has its own answer; one bad item fails alone."""
    calls: list[int] = []

    def double(_connection: Connection, items: Sequence[int]) -> list[int]:
        calls.append(len(items))
        if 7 in items:
            raise ValueError("7")
        return [item * 2 for item in items]

    go = hold(store)
    futures = [store.write(double, n) for n in range(5)]
    go.set()
    assert [future.result(60) for future in futures] == [0, 2, 4, 6, 8]
    assert calls == [5]
    go = hold(store)
    futures = [store.write(double, n) for n in (6, 7, 8)]
    go.set()
    assert [futures[0].result(60), futures[2].result(60)] == [12, 16]
    with pytest.raises(ValueError, match="7"):
        futures[1].result(60)


async def test_many_waiters_are_woken_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call into the event loop for each batch, not one for each job."""
    loop, woken = asyncio.get_running_loop(), 0
    plain = loop.call_soon_threadsafe

    def counting(*args: object, **kw: object) -> object:
        nonlocal woken
        woken += 1
        return plain(*args, **kw)  # type: ignore[arg-type]

    await store.arun(put_key(store, "first"))
    go = hold(store)
    monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
    waiting = asyncio.gather(*(store.arun(put_key(store, str(n))) for n in range(50)))
    await asyncio.sleep(0)
    go.set()
    await waiting
    assert woken == 1


async def test_a_cancelled_waiter_disturbs_nobody(store: Store) -> None:
    """Its write may still be made; the others get their answers."""
    await store.arun(lambda c: None)
    go = hold(store)
    gone = asyncio.ensure_future(store.arun(put_key(store, "a")))
    stays = asyncio.ensure_future(store.arun(put_key(store, "b")))
    await asyncio.sleep(0)
    gone.cancel()
    go.set()
    assert await stays == "b"
    with pytest.raises(asyncio.CancelledError):
        await gone


def test_a_commit_that_breaks_is_never_run_again(store: Store) -> None:
    """Whether it counts is unknown: a second run could write twice."""
    runs: list[int] = []

    def write(connection: Connection) -> None:
        runs.append(1)
        put_key(store, "a")(connection)

    def broken(_connection: Connection) -> None:
        raise OperationalError("COMMIT", {}, Exception("the line is dead"))

    store.run(lambda c: None)
    event.listen(store._writer, "commit", broken)
    with pytest.raises(StoreUnavailable, match="the line is dead"):
        store.run(write)
    event.remove(store._writer, "commit", broken)
    assert runs == [1]
    assert store.run(put_key(store, "b")) == "b"


def test_a_closed_store_writes_what_waits_and_takes_no_more(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written-behind items included."""
    # However long this test is kept from going on, it forgets in time.
    monkeypatch.setattr(lane, "BEHIND_SECONDS", 3600.0)
    store = Store(store_url, namespace=uuid7())

    def bulk(connection: Connection, items: Sequence[str]) -> list[None]:
        for item in items:
            put_key(store, item)(connection)
        return [None] * len(items)

    store.write_behind(bulk, "a", "behind")
    store.write_behind(bulk, "b", "forgotten")
    store.forget("b")
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.run(put_key(store, "late"))
    again = Store(store_url, namespace=store.namespace)
    assert keys(again) == ["behind"]
    again.close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_opens_connections_of_its_own(store: Store) -> None:
    """gunicorn's way: the parent has used the store, then forks; both go on."""
    store.run(put_key(store, "before"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.run(put_key(store, "child"))
            status = 0 if keys(store) == ["before", "child"] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    store.run(put_key(store, "parent"))
    assert keys(store) == ["before", "child", "parent"]


def test_the_schema_is_what_the_code_believes(store: Store) -> None:
    """The chain of migrations and the tables in schema.py do not drift apart."""
    from alembic.autogenerate import compare_metadata
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    store.migrate()
    options = {"version_table": VERSION_TABLE, "compare_type": True}
    differences = store.read(
        lambda c: compare_metadata(MigrationContext.configure(c, opts=options), metadata)
    )
    assert differences == []
    config = Config()
    config.set_main_option("script_location", "rabbitjobs.store:migrations")
    config.set_main_option("path_separator", "os")
    chain = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(chain)) == REVISIONS


@pytest.fixture
def empty_url(store_url: str, tmp_path: Path) -> str:
    """A database without our tables."""
    url = make_url(store_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'empty.db'}"
    engine = create_engine(parse_url(store_url), isolation_level="AUTOCOMMIT")
    name = "rj_test_" + uuid7().replace("-", "")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return url.set(database=name).render_as_string(hide_password=False)


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    """One makes the tables, the others wait for it and find nothing to do."""
    code = (
        "import sys; from rabbitjobs.store.engine import Store\n"
        "store = Store(sys.argv[1]); print(store.migrate()); store.check(); store.close()"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = [process.communicate(timeout=100) for process in processes]
    assert [error for _, error in answers] == [""] * 4
    assert sorted(answer.strip() for answer, _ in answers) == [*[REVISIONS[-1]] * 3, "None"]


def test_a_store_without_tables_is_refused_or_made(empty_url: str) -> None:
    """SQLite's file is migrated by itself; a server's database only by command."""
    store = Store(empty_url)
    if store.one_machine:
        store.check()
    else:
        with pytest.raises(StoreOutdated, match="rabbitjobs store migrate"):
            store.run(lambda c: None)
        with pytest.raises(StoreOutdated, match="rabbitjobs store migrate"):
            store.check()
        store.migrate()
        store.check()
    store.close()


def test_a_store_of_a_newer_release_is_refused(empty_url: str) -> None:
    """By name of what to do; its tables are left alone."""
    maker = Store(empty_url)
    maker.migrate()
    maker.run(lambda c: c.execute(text(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")))
    maker.close()
    store = Store(empty_url)
    for act in (store.check, store.migrate, lambda: store.run(lambda c: None)):
        with pytest.raises(StoreOutdated, match="newer release"):
            act()
    store.close()


def test_a_connection_that_broke_is_made_anew(store: Store) -> None:
    """The server was restarted between two writes: nobody notices."""
    store.run(put_key(store, "a"))
    store.read(lambda c: None)
    if not store.one_machine:
        admin = create_engine(store.url, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        admin.dispose()
    assert store.run(put_key(store, "b")) == "b"


def test_a_database_that_is_not_there_is_unavailable(store: Store, tmp_path: Path) -> None:
    """At once or within the connect timeout, and in our words, without the password."""
    if store.one_machine:
        (tmp_path / "file").write_text("")
        with pytest.raises(StoreUnavailable):
            Store(f"sqlite:///{tmp_path / 'file' / 'store.db'}").check()
        return
    url = store.url.set(port=1, password="hunter2").render_as_string(hide_password=False)
    gone = Store(url)
    for act in (gone.check, lambda: gone.run(lambda c: None), lambda: gone.read(lambda c: None)):
        with pytest.raises(StoreUnavailable) as caught:
            act()
        assert "hunter2" not in str(caught.value)
    gone.close()

"""Where results are kept: Redis and PostgreSQL of our own on loopback, and SQLite files."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

from benchmarks.contest import HERE, BenchError, Bout
from rabbitjobs.broker.layout import free_ports

SQLITE = {"BENCH_STORE": "sqlite:///{folder}/store.db"}
FULL = 2  # what SQLite answers when `synchronous` is FULL


@dataclass(frozen=True, slots=True)
class Stores:
    """The servers of one run."""

    redis: str
    redis_on_disk: str
    postgres: str

    def in_redis(self) -> dict[str, str]:
        """The environment of a contestant with results in an empty Redis."""
        return _empty(self.redis)

    def in_redis_on_disk(self) -> dict[str, str]:
        """The same in a Redis whose every write is on disk before it answers."""
        return _empty(self.redis_on_disk)

    def in_postgres(self) -> dict[str, str]:
        """The environment of a contestant with results in a database that nobody has used."""
        from sqlalchemy import create_engine, make_url, text

        from rabbitjobs.store.engine import Store

        admin = make_url(self.postgres).set(drivername="postgresql+psycopg")
        name = f"bench_{next(_numbers)}"
        engine = create_engine(admin, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        engine.dispose()
        url = admin.set(database=name).render_as_string(hide_password=False)
        store = Store(url)
        store.migrate()
        store.close()
        return {"BENCH_STORE": url}


_numbers = count(1)


def _empty(redis: str) -> dict[str, str]:
    _redis(redis, "FLUSHALL")
    return {"BENCH_REDIS": redis}


def check_results(bout: Bout) -> None:
    """Each job's result is there, and SQLite was as durable as the row says."""
    if url := bout.env.get("BENCH_STORE"):
        kept = _kept(url)
    else:
        kept = int(_redis(bout.env["BENCH_REDIS"], "DBSIZE"))
    if kept != bout.expected["."]:
        raise BenchError(
            f"{bout.contestant.name}: expected {bout.expected['.']} results, got {kept}"
        )


def _kept(url: str) -> int:
    from sqlalchemy import func, select, text

    from rabbitjobs.store.engine import Store
    from rabbitjobs.store.schema import jobs

    store = Store(url, namespace="bench")
    query = select(func.count()).select_from(jobs).where(jobs.c.status == "succeeded")
    found = store.run(lambda connection: int(connection.execute(query).scalar_one()))
    if url.startswith("sqlite"):
        pragma = text("PRAGMA synchronous")
        safety = store.run(lambda connection: connection.execute(pragma).scalar_one())
        if safety != FULL:
            raise BenchError(f"expected SQLite with synchronous=FULL, got {safety}")
    store.close()
    return found


@contextmanager
def stores() -> Iterator[Stores]:
    """Redis and PostgreSQL, ended afterwards."""
    with (
        _redis_server(*_IN_MEMORY) as redis,
        _redis_server(*_ON_DISK) as redis_on_disk,
        _postgres_server() as postgres,
    ):
        yield Stores(redis, redis_on_disk, postgres)


# Results in Redis are usually kept in memory only; on disk is what SQLite and PostgreSQL do.
_IN_MEMORY = ("--appendonly", "no")
_ON_DISK = ("--appendonly", "yes", "--appendfsync", "always")


@contextmanager
def _redis_server(*keeping: str) -> Iterator[str]:
    port = free_ports(1)[0]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", *keeping)
    with tempfile.TemporaryDirectory(prefix="rabbitjobs-redis-") as folder:
        process = subprocess.Popen(
            ["redis-server", *options, "--dir", folder], stdout=subprocess.DEVNULL
        )
        url = f"redis://127.0.0.1:{port}/0"
        try:
            _wait(url)
            yield url
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _postgres_server() -> Iterator[str]:
    """It runs until its script, which says its URL, reads the end of its input."""
    said = 'printf "%s\\n" "$RABBITJOBS_TEST_POSTGRES_URL"; read -r _ || true'
    process = subprocess.Popen(
        ["bash", str(HERE.parent / "scripts" / "with-postgres"), "bash", "-c", said],
        env={**os.environ, "PY": sys.executable},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise BenchError("expected PostgreSQL to start, got the lines above")
        yield url


def _redis(url: str, command: str) -> str:
    """Its answer to one command without arguments."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), 10) as connection:
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(200).decode().strip().lstrip(":+")


def _wait(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            if _redis(url, "PING") == "PONG":
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)

"""What a lane does with a batch: one transaction for all of it, or for each part if that fails."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from rabbitjobs.errors import StoreError, StoreUnavailable
from rabbitjobs.store.connect import raise_translated, translate
from rabbitjobs.store.lane import Item, Outcome


class CommitBroken(Exception):
    """The commit itself failed: whether it counts is unknown, so nothing may be run again."""


class Writer:
    """Runs batches on one connection that it keeps.

    A batch is one transaction. When an item raises, all is rolled back and every kind of work gets
    a transaction of its own, then every item: one bad write never fails its neighbours.
    """

    def __init__(self, engine: Engine, where: str, prepare: Callable[[], None]) -> None:
        self._engine = engine
        self._where = where
        self._prepare = prepare
        self._connection: Connection | None = None

    def __call__(self, batch: list[Item]) -> list[Outcome]:
        """Run a batch; an outcome for each item, whatever happens."""
        try:
            return self._commit_or_reconnect(batch)
        except StoreError as error:
            # A text of its own for each: one exception in many tasks would grow its traceback.
            return [Outcome(item, type(error)(error.text), None) for item in batch]
        except Exception as error:
            if len(batch) == 1:
                return [Outcome(batch[0], error, None)]
        return [outcome for part in _smaller(batch) for outcome in self(part)]

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._drop()

    def _commit_or_reconnect(self, batch: list[Item]) -> list[Outcome]:
        fresh = self._connection is None
        try:
            return self._commit(batch)
        except CommitBroken as broken:
            self._drop()
            raise self._as_store_error(broken.__cause__) from broken
        except Exception as error:
            gone = isinstance(error, DBAPIError) and error.connection_invalidated
            if isinstance(translate(error, self._where), StoreError):
                self._drop()
            if gone and not fresh:
                return self._commit_or_reconnect(batch)
            raise_translated(error, self._where)

    def _commit(self, batch: list[Item]) -> list[Outcome]:
        connection = self._connect()
        transaction = connection.begin()
        try:
            outcomes = _run(connection, batch)
        except BaseException:
            transaction.rollback()
            raise
        try:
            transaction.commit()
        except Exception as error:
            raise CommitBroken from error
        return outcomes

    def _connect(self) -> Connection:
        if self._connection is None:
            self._prepare()
            self._connection = self._engine.connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()

    def _as_store_error(self, error: BaseException | None) -> StoreError:
        known = translate(error, self._where) if isinstance(error, Exception) else error
        if isinstance(known, StoreError):
            return known
        return StoreUnavailable(f"expected a commit at {self._where}, got: {error}")


def _run(connection: Connection, batch: list[Item]) -> list[Outcome]:
    outcomes: list[Outcome] = []
    for part in _parts(batch):
        bulk = part[0].bulk
        if bulk is None:
            outcomes += [Outcome(item, None, item.value(connection)) for item in part]
        else:
            results = bulk(connection, [item.value for item in part])
            outcomes += [
                Outcome(item, None, value) for item, value in zip(part, results, strict=True)
            ]
    return outcomes


def _parts(batch: list[Item]) -> list[list[Item]]:
    """The batch by kind of work, in order of first appearance.

    Bulk functions are told apart by equality, so a bound method is the same work each time.
    """
    kinds: dict[object, list[Item]] = {}
    for item in batch:
        kinds.setdefault(item.bulk, []).append(item)
    return list(kinds.values())


def _smaller(batch: list[Item]) -> list[list[Item]]:
    parts = _parts(batch)
    return parts if len(parts) > 1 else [[item] for item in batch]

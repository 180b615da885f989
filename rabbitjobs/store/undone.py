"""Hearing that a caller's transaction took its promises back, by rollback or to a savepoint."""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event, select
from sqlalchemy.exc import SQLAlchemyError

from rabbitjobs.store.schema import outbox


class _Promises:
    """What one connection's open transaction has put into the outbox: row ids, whom to tell."""

    def __init__(self) -> None:
        self.waiting: dict[int, Callable[[], None]] = {}
        self.doubtful = False

    def begun(self, _connection: Connection) -> None:
        self.waiting.clear()
        self.doubtful = False

    def rolled_back(self, _connection: Connection) -> None:
        self._tell(self.waiting)

    def rolled_back_to_savepoint(self, _connection: Connection, _name: str, _context: None) -> None:
        self.doubtful = True

    def committing(self, connection: Connection) -> None:
        """Told before the commit: one that fails is followed by a rollback."""
        if not (self.doubtful and self.waiting):
            return
        # Which rows a savepoint took back only the database knows.
        try:
            query = select(outbox.c.id).where(outbox.c.id.in_(list(self.waiting)))
            kept = set(connection.execute(query).scalars())
        except SQLAlchemyError:  # a transaction that is broken already: its rollback tells
            return
        self._tell({row_id: told for row_id, told in self.waiting.items() if row_id not in kept})

    def _tell(self, taken_back: dict[int, Callable[[], None]]) -> None:
        for row_id, told in tuple(taken_back.items()):
            del self.waiting[row_id]
            told()


_watched: WeakKeyDictionary[Connection, _Promises] = WeakKeyDictionary()


def watch(connection: Connection, row_id: int, undone: Callable[[], None]) -> None:
    """Call ``undone`` once if the open transaction takes this row of the outbox back.

    Nobody is told when the whole process ends first, nor of a transaction in two phases.
    """
    promises = _watched.get(connection)
    if promises is None:
        promises = _watched[connection] = _Promises()
        event.listen(connection, "begin", promises.begun)
        event.listen(connection, "rollback", promises.rolled_back)
        event.listen(connection, "rollback_savepoint", promises.rolled_back_to_savepoint)
        event.listen(connection, "commit", promises.committing)
    promises.waiting[row_id] = undone

"""How a worker comes by its book of cancellations: a piece of the root."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rabbitjobs.clock import now
from rabbitjobs.control.book import Book
from rabbitjobs.store import cancellations
from rabbitjobs.store.cancellations import Cancellation, Glance
from rabbitjobs.store.sqlite_file import plain_path

if TYPE_CHECKING:
    from rabbitjobs.store.engine import Store


def book_of(url: str, namespace: str, store: Callable[[], Store]) -> Book:
    """The book on the store at ``url``; ``store`` opens it, which a SQLite file need not wait for.

    The first jobs of a worker wait for the first reading.
    """
    path = plain_path(url)
    glance = Glance(path, namespace) if path is not None else None

    def read(number: int) -> Sequence[Cancellation]:
        if glance is not None:
            with contextlib.suppress(sqlite3.Error):  # the store says what is wrong with it
                return glance.since(number, now())
        return store().read(lambda one: cancellations.since(one, namespace, number, now()))

    return Book(read, close=glance.close if glance is not None else lambda: None)

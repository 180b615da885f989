"""A store's cancellations, as a test gives them to a consumer."""

from __future__ import annotations

from collections.abc import Sequence

from rabbitjobs.control.book import Book
from rabbitjobs.errors import StoreUnavailable
from rabbitjobs.store.cancellations import Cancellation
from tests.unit.consumer.bench import Bench


def order(value: str, grace: float = 30.0) -> Cancellation:
    """That a job is to end."""
    return Cancellation(number=1, kind="id", value=value, at=1e12, grace=grace, who="ann", why="no")


class Orders:
    """The store's cancellations; it can be down."""

    def __init__(self, bench: Bench) -> None:
        self.rows: list[Cancellation] = []
        self.down = False
        self.book = Book(self.read)
        self.book.listen(bench.consumer.cancel)
        bench.handler._book = self.book

    def read(self, _number: int) -> Sequence[Cancellation]:
        """See ``Book``."""
        if self.down:
            raise StoreUnavailable("the store is down")
        return tuple(self.rows)

    async def add(self, one: Cancellation) -> None:
        """Somebody cancels, and the worker hears of it."""
        self.rows.append(one)
        await self.book.renew()

"""Stores of one process may be made at the same time."""

from __future__ import annotations

import threading
from pathlib import Path

from rabbitjobs.store.engine import Store
from rabbitjobs.store.fresh import REVISIONS


def test_stores_that_are_migrated_at_the_same_time_do_not_mix(tmp_path: Path) -> None:
    """Two apps of one process, each with a file of its own."""
    together = threading.Barrier(4)
    versions: list[str | None] = []

    def make(number: int) -> None:
        store = Store(f"sqlite:///{tmp_path / f'{number}.db'}", namespace="shop")
        try:
            together.wait(60)
            store.migrate()
            versions.append(store.version())
        finally:
            store.close()

    for _ in range(5):
        threads = [threading.Thread(target=make, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for path in tmp_path.glob("*.db*"):
            path.unlink()
    assert versions == [REVISIONS[-1]] * 20

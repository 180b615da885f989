"""The intake lives for months: what it remembers of messages must not grow."""

from __future__ import annotations

from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app import desk_roles
from rabbitjobs.app.desk_roles import IntakeRole
from rabbitjobs.message.properties import Properties
from rabbitjobs.review.intake import FailedMessage
from rabbitjobs.store.engine import Store
from rabbitjobs.wire.protocol import Delivery


async def test_an_item_that_the_store_takes_in_the_end_leaves_nothing_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused for a moment only."""
    troubles = [ValueError("not now")]

    async def take_in(store: Store, message: FailedMessage) -> str:
        if troubles:
            raise troubles.pop()
        return "case"

    monkeypatch.setattr(desk_roles, "atake_in", take_in)
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("RABBITJOBS_URL", "amqp://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    app = RabbitJobs()
    try:
        intake = IntakeRole(app)
        item = Delivery(1, "", "rabbitjobs.review", False, Properties(message_id="m"), b"{}")
        with pytest.raises(ValueError, match="not now"):
            await intake._take(item)
        assert len(intake._refusals) == 1
        await intake._take(item)
        assert len(intake._refusals) == 0
    finally:
        app.close()

"""A job sent twice with one id has one outcome, and after its end it does not run again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.app.roles import ConsumeRole


async def test_a_job_that_has_ended_does_not_run_again_under_its_id(
    broker_url: str,
    management_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The sender chose the id: a second message of it is looked up before any code runs."""
    monkeypatch.chdir(tmp_path)
    ran: list[int] = []
    app = RabbitJobs()

    @app.job
    async def mark(number: int) -> int:
        ran.append(number)
        return number

    store = f"sqlite:///{tmp_path / 'store.db'}"
    with app.overridden(url=broker_url, store_url=store, management_url=management_url):
        app.apply()
        role = ConsumeRole(app, "default")
        await role.start()
        handle = await mark.options(id="order-1").asend(1)
        assert await handle.aresult(40) == 1
        again = await mark.options(id="order-1").asend(2)
        other = await mark.asend(3)
        assert await other.aresult(40) == 3
        assert await again.aresult(40) == 1
        await role.drain(20, asyncio.Event())
        assert ran == [1, 3]
        await asyncio.to_thread(app.close)

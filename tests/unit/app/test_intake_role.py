"""The intake lives for months: what it remembers of messages must not grow."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rabbitjobs
from rabbitjobs import RabbitJobs, failpoints
from rabbitjobs.app import desk_roles
from rabbitjobs.app.desk_roles import IntakeRole
from rabbitjobs.message.properties import Properties
from rabbitjobs.review.intake import FailedMessage
from rabbitjobs.review.options import DeskOptions
from rabbitjobs.store.engine import Store
from rabbitjobs.wire.protocol import Delivery


async def test_an_item_that_the_store_takes_in_the_end_leaves_nothing_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused for a moment only."""
    troubles = [ValueError("not now")]

    async def take_in(store: Store, message: FailedMessage, options: DeskOptions) -> str:
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


async def test_a_case_gets_the_deadline_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the desk of the app has the same options."""
    (tmp_path / "config").mkdir()
    text = "review:\n  deadlines:\n    '*': {after: 2d, do: discard}\n"
    (tmp_path / "config" / "rabbitjobs.yaml").write_text(text)
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("RABBITJOBS_URL", "amqp://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    app = RabbitJobs()
    try:
        item = Delivery(1, "", "rabbitjobs.review", False, Properties(message_id="m"), b"{}")
        await IntakeRole(app)._take(item)
        (case,) = app.desk.list().cases
        assert (case.deadline_do, case.deadline) == ("discard", case.opened + 2 * 86400)
        assert app.desk.options.deadline_of("any") is not None
    finally:
        app.close()


INTAKE = """
import asyncio
from rabbitjobs import RabbitJobs
from rabbitjobs.app.desk_roles import IntakeRole
from rabbitjobs.message.properties import Properties
from rabbitjobs.wire.protocol import Delivery
item = Delivery(1, "", "rabbitjobs.review", False, Properties(message_id="m"), b"{}")
asyncio.run(IntakeRole(RabbitJobs())._take(item))
"""


async def test_an_intake_that_is_killed_before_its_ack_makes_one_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker hands the message out again, and it is the same case."""
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("RABBITJOBS_URL", "amqp://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    environment = {**os.environ, failpoints.VARIABLE: "after-intake-commit"}
    root = str(Path(rabbitjobs.__file__).parents[1])
    environment["PYTHONPATH"] = root
    dead = subprocess.run([sys.executable, "-c", INTAKE], env=environment, check=False, timeout=60)
    assert dead.returncode == failpoints.EXIT_CODE
    app = RabbitJobs()
    try:
        (case,) = app.desk.list().cases
        item = Delivery(1, "", "rabbitjobs.review", True, Properties(message_id="m"), b"{}")
        await IntakeRole(app)._take(item)
        assert app.desk.list().cases == (case,)
        assert [row.action for row in app.desk.audit(case.id)] == ["open"]
    finally:
        app.close()


async def test_the_intake_keeps_deadlines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside what it takes in; nobody else has to call for it."""
    (tmp_path / "config").mkdir()
    text = "review:\n  deadlines:\n    '*': {after: 1s, do: escalate}\n"
    (tmp_path / "config" / "rabbitjobs.yaml").write_text(text)
    monkeypatch.setenv("RABBITJOBS_STORE_URL", f"sqlite:///{tmp_path / 'store.db'}")
    monkeypatch.setenv("RABBITJOBS_URL", "amqp://127.0.0.1:1")
    monkeypatch.setattr(desk_roles, "SWEEP_SECONDS", 0.05)
    monkeypatch.chdir(tmp_path)
    app = RabbitJobs()
    item = Delivery(1, "", "rabbitjobs.review", False, Properties(message_id="m"), b"{}")
    try:
        intake = IntakeRole(app)
        await intake._take(item)
        sweeping = asyncio.create_task(intake._sweep())
        async with asyncio.timeout(60):
            while app.desk.list().cases[0].severity == 0:
                await asyncio.sleep(0.05)
        sweeping.cancel()
        await asyncio.wait([sweeping])
        (case,) = app.desk.list().cases
        assert (case.severity, case.deadline) == (1, None)
        assert app.desk.audit(case.id)[-1].who == "deadline"
    finally:
        app.close()

"""Who may send remote control: the operator, and nobody else."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from rabbitjobs.app.control_role import ControlRole
from rabbitjobs.app.roles import ConsumeRole, Role, worker_name
from rabbitjobs.broker.node import Node
from rabbitjobs.control import client, protocol
from rabbitjobs.control.client import ControlClient
from rabbitjobs.control.presence import present
from rabbitjobs.errors import ControlRefused, RabbitJobsError
from tests.security.role_shop import RoleShop, role_shop


def client_of(shop: RoleShop, role: str) -> ControlClient:
    """As this role's account, the management API included."""
    app = shop.app(role)
    return ControlClient(
        app.parts.session(), "shop", who=role,
        present=lambda: present(app.parts.management, "shop", shop.vhost),
    )  # fmt: skip


def hears_of_its_queue(one: ControlClient) -> bool:
    """Whether the broker has answered it, one way or the other."""
    return one._consuming.is_set() or "ACCESS_REFUSED" in one._reason


async def test_the_operator_asks_and_nobody_else_does(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own rights it sees who is there and changes what it asks; others change nothing."""
    with role_shop(node, tmp_path) as shop:
        app = shop.app("worker")

        @app.job("echo", queue="emails")
        async def echo(value: int) -> int:
            return value

        consuming = ConsumeRole(app, "emails")
        roles: list[Role] = [consuming, ControlRole(app, [consuming])]
        for role in roles:
            await role.start()
        operator = client_of(shop, "operator")
        before = consuming.consumer.slots
        command = protocol.SetSlots("emails", before + 1)
        await shop.until(
            lambda: operator.ask(protocol.Ping(), timeout=1, to=(worker_name(),)).answers
        )
        for other in ("publisher", "reviewer", "worker"):
            stranger = client_of(shop, other)
            # A queue for the answers is made, or refused: nothing is left to wait for.
            await shop.until(partial(hears_of_its_queue, stranger))
            with monkeypatch.context() as patch, pytest.raises(RabbitJobsError) as refused:
                patch.setattr(client, "CONNECT_SECONDS", 0.1)
                await asyncio.to_thread(stranger.ask, command, timeout=20)
            assert isinstance(refused.value, ControlRefused) or other != "worker"
            assert "ACCESS_REFUSED" in str(refused.value)
        assert consuming.consumer.slots == before
        asked = await asyncio.to_thread(operator.ask, command, timeout=20)
        assert [one.worker for one in asked.answers] == [worker_name()]
        assert asked.silent == ()
        assert consuming.consumer.slots == before + 1
        for role in roles:
            await role.drain(5.0, asyncio.Event())

"""Every pitfall is tried on both wires: the name of a test says which row of the list it holds."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.testing.control import RabbitControl
from tests.pitfalls.shop import WIRES, MakeWire

_ALARM = "{resource_limit, memory, node()}"


@pytest.fixture(params=WIRES.values(), ids=list(WIRES))
def make_wire(request: pytest.FixtureRequest) -> MakeWire:
    """A wire, not opened yet."""
    made: MakeWire = request.param
    return made


@pytest.fixture
async def control(node: Node) -> AsyncIterator[RabbitControl]:
    """The hands on a fresh vhost, where wires connect through a relay."""

    def alarm(on: bool) -> None:
        node.eval(
            f"rabbit_alarm:set_alarm({{{_ALARM}, []}})."
            if on
            else f"rabbit_alarm:clear_alarm({_ALARM})."
        )

    made = RabbitControl(node.create_vhost(), alarm=alarm)
    await made.start()
    yield made
    await made.close()
    node.delete_vhost(made.address.vhost)

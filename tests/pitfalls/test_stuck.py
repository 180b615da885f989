"""A consumer whose deliveries vanish on the way is noticed and rebuilt, on both wires."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rabbitjobs.broker.node import Node
from rabbitjobs.wire import subscription
from tests.frame_proxy import Frame, FrameProxy, between
from tests.pitfalls.shop import MakeWire, shop
from tests.pitfalls.test_consuming import port_of

_DELIVER = b"\x00\x3c\x00\x3c"
_CONSUME = b"\x00\x3c\x00\x14"


class Thief(FrameProxy):
    """While it steals from a connection, no delivery gets through.

    It stops stealing from a connection when a new consumer is started there, if ``relents``;
    ``relented`` is called when a consumer starts from which it steals no more.
    """

    def __init__(self, target: int, *, relents: bool, relented: Callable[[], object]) -> None:
        super().__init__(target)
        self.stolen = 0
        self._relents = relents
        self._relented = relented
        self._marks: set[int] = set()
        self._consuming: set[int] = set()

    def steal(self) -> None:
        """Begin, on the connections that consume now."""
        self._marks = set(self._consuming)

    async def hear(self, frame: Frame) -> None:
        if frame.method == _CONSUME:
            self._consuming.add(frame.connection)
            robbed = bool(self._marks)
            if self._relents:
                self._marks.discard(frame.connection)
            if robbed and frame.connection not in self._marks:
                self._relented()

    def takes(self, frame: Frame) -> bool:
        """On a connection that only consumes, every content belongs to a delivery."""
        if frame.connection not in self._marks:
            return False
        self.stolen += frame.method == _DELIVER
        return frame.method == _DELIVER or frame.kind in (2, 3)


@pytest.mark.parametrize("relents", [True, False], ids=["consumer", "connection"])
async def test_a_stuck_consumer_is_noticed_and_rebuilt(
    node: Node,
    make_wire: MakeWire,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    relents: bool,
) -> None:
    """First the consumer, and if that does not help the connection; every job runs once."""
    monkeypatch.setattr(subscription, "LOOK_SECONDS", 0.5)
    # An idle consumer's subscribing anew would be one that nobody noticed to be stuck.
    monkeypatch.setattr(subscription, "LOOKS_UNTIL_ANEW", 1000)

    def look_seldom() -> None:
        # A living consumer may wait for a busy broker: it must not be taken for another stuck one.
        monkeypatch.setattr(subscription, "LOOK_SECONDS", 60.0)

    async with (
        between(Thief(port_of(node), relents=relents, relented=look_seldom)) as line,
        shop(node, tmp_path, make_wire, port=line.port) as found,
        found.working(slots=5),
    ):
        await found.send("before")
        await found.done()
        accepted = line.accepted
        line.steal()
        for number in range(20):
            await found.send(f"job {number}")
        await found.done()
        await found.empties()
        assert line.stolen >= 5
        assert line.accepted == accepted + (0 if relents else 1)
        said = [event.reason for event in found.said("ConsumerChanged")]
        assert any(reason.startswith("stuck: ") for reason in said)
        assert len(found.ran) == 21 and set(found.ran.values()) == {1}

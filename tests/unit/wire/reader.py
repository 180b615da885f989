"""Somebody who consumes a queue over scripted wires."""

from __future__ import annotations

from typing import Any

from rabbitjobs.wire.adjustable import AdjustableSubscription
from rabbitjobs.wire.subscription import Handed, Subscription
from tests.unit.wire.scripted_wire import ScriptedConsumer, ScriptedWire, World, until


class Reader:
    """A link, a subscription to ``shop.q.emails``, and all that it hands on and says.

    ``options`` are the subscription's.
    """

    def __init__(self, **options: Any) -> None:
        self.world = World()
        self.link = self.world.link()
        self.handed: list[Handed] = []
        self.states: list[tuple[str, str]] = []
        self.subscription = self.subscribe(**options)

    def subscribe(self, **options: Any) -> Subscription:
        """Begin to consume the queue."""
        return Subscription(
            self.link,
            "shop.q.emails",
            deliver=self.handed.extend,
            changed=lambda state, reason: self.states.append((state, reason)),
            **options,
        )

    @property
    def wire(self) -> ScriptedWire:
        """The newest wire."""
        return self.world.wire

    @property
    def consumer(self) -> ScriptedConsumer:
        """The newest consumer."""
        return self.wire.consumers[-1]

    def said(self, state: str) -> list[str]:
        """The reasons with which it said this state."""
        return [reason for said, reason in self.states if said == state]

    async def consuming(self, times: int = 1) -> None:
        """Wait until it consumes, for the so-manieth time."""
        await until(lambda: len(self.said("consuming")) == times)

    async def stop(self) -> None:
        """End it."""
        await self.subscription.stop()
        await self.subscription.finish()
        await self.link.close()


class ChangingReader(Reader):
    """Whose subscription can be changed while it runs."""

    subscription: AdjustableSubscription

    def subscribe(self, **options: Any) -> AdjustableSubscription:
        """See ``Reader``."""
        return AdjustableSubscription(
            self.link,
            "shop.q.emails",
            deliver=self.handed.extend,
            changed=lambda state, reason: self.states.append((state, reason)),
            **options,
        )

"""What a client library must do for us: the protocol that every wire implements.

Everything here is called on one event loop, that of the I/O thread. Nothing here retries, waits
for a deadline or reconnects: that is done once, above, in ``link``, ``outbound`` and
``subscription``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec

from rabbitjobs.broker.url import Address
from rabbitjobs.message.properties import Properties


class Outgoing(msgspec.Struct, frozen=True, gc=False):
    """One message to publish. ``mandatory`` is false for events and control only."""

    exchange: str
    routing_key: str
    properties: Properties
    body: bytes
    mandatory: bool = True


class Confirmed(msgspec.Struct, frozen=True):
    """The broker has taken responsibility for the message."""


class Rejected(msgspec.Struct, frozen=True):
    """It is certain that nothing is stored.

    ``nacked``: the queue refused it (full). ``refused``: the channel was closed on it, ``code``
    is the reply code. ``unavailable``, ``access`` (the broker does not let us in) and
    ``blocked``: it was never written to a broker.
    """

    reason: Literal[
        "unroutable", "nacked", "too-large", "refused", "unavailable", "access", "blocked"
    ]
    text: str
    code: int = 0


class Unknown(msgspec.Struct, frozen=True):
    """It was written, and no confirm came: it may or may not be stored.

    ``channel``: only the channel was closed, because of this message or of a neighbour of it.
    """

    text: str
    channel: bool = False


Outcome = Confirmed | Rejected | Unknown
CONFIRMED = Confirmed()


class Delivery(msgspec.Struct, frozen=True, gc=False):
    """One message as the broker handed it over.

    ``tag`` counts within the consumer's channel. ``damage`` is set when its properties could not
    be decoded: it says why, ``properties`` are then empty and ``raw`` holds the header frame's
    payload as it came.
    """

    tag: int
    exchange: str
    routing_key: str
    redelivered: bool
    properties: Properties
    body: bytes
    damage: str | None = None
    raw: bytes = b""


class Consumer(Protocol):
    """One consumer on one channel of its own (``multiple`` acks cover a whole channel)."""

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge; never proof of anything. Does nothing once the channel is closed."""
        ...

    def nack(self, tag: int, *, requeue: bool = True) -> None:
        """Give one message back. Does nothing once the channel is closed."""
        ...

    async def cancel(self) -> None:
        """Stop deliveries and wait for the broker's answer; deliveries before it still arrive."""
        ...

    async def sync(self) -> None:
        """One round trip on the channel: all acks and nacks before it have been taken in."""
        ...

    async def close(self) -> None:
        """Close the channel; what was neither acked nor nacked goes back to the queue."""
        ...


class Wire(Protocol):
    """One connection. Raises ``ConnectionLost`` and ``ChannelClosed``, never a library's errors.

    ``closed`` and ``blocked`` are set by the owner before ``open``: ``closed`` is called once,
    when an opened connection ends for whatever reason other than ``close``; ``blocked`` with
    whether a broker alarm holds back publishing. ``alarm`` is then the broker's word for it (``low
    on memory``), and empty otherwise.
    """

    closed: Callable[[str], None]
    blocked: Callable[[bool], None]
    alarm: str
    server: Mapping[str, Any]
    frame_max: int

    async def open(self, address: Address, *, name: str) -> None:
        """Connect, negotiate and open the confirming publish channel. No deadline of its own."""
        ...

    def publish(self, message: Outgoing, done: Callable[[Outcome], None]) -> None:
        """Write one message; ``done`` is called exactly once, ``Unknown`` if the connection ends.

        One that closes the channel is ``Rejected`` with reason ``refused``; its neighbours in
        flight become ``Unknown`` and the publish channel is opened anew.
        """
        ...

    async def consume(
        self,
        queue: str,
        *,
        prefetch: int,
        deliver: Callable[[Delivery], None],
        cancelled: Callable[[str], None],
        arguments: Mapping[str, Any] | None = None,
    ) -> Consumer:
        """Start a consumer with manual acks on a channel of its own.

        ``cancelled`` is called once, with the reason, when the broker cancels the consumer or
        closes its channel. Raises ``ChannelClosed`` when the broker refuses.
        """
        ...

    async def inspect_queue(self, queue: str) -> tuple[int, int]:
        """Ready messages and consumers, by a passive declare on a throwaway channel."""
        ...

    async def inspect_exchange(self, exchange: str) -> None:
        """Raise ``ChannelClosed`` if there is no such exchange."""
        ...

    async def temporary_queue(self, name: str, *, exchange: str, keys: Sequence[str]) -> str:
        """Declare an exclusive, classic queue that dies with this connection, bound to ``keys``."""
        ...

    async def close(self) -> None:
        """Close; never raises. ``closed`` is not called."""
        ...

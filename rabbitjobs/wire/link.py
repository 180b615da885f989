"""One connection that is always being kept: generations, backoff, host rotation."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import tenacity

from rabbitjobs.broker.url import Address
from rabbitjobs.errors import AccessRefused, BrokerError, ConnectionLost
from rabbitjobs.wire.protocol import Wire

CONNECT_SECONDS = 10.0
# A connection that lived shorter than this did not help: the next try waits like a failed one.
SHORT_LIFE_SECONDS = 2.0
# Half of a send's usual deadline: a send to a broker that is back is not refused because the next
# try to connect comes only later.
LONGEST_PAUSE_SECONDS = 5.0


class LinkListener(Protocol):
    """Who wants to know about a link. All calls are on the I/O loop."""

    def link_up(self, wire: Wire, generation: int) -> None:
        """A connection is there; ``generation`` counts them from 1."""

    def link_down(self, reason: str) -> None:
        """The connection is gone, or could not be made."""

    def link_blocked(self, blocked: bool) -> None:
        """A broker alarm holds back publishing on this connection, or no longer does."""


class Link:
    """Keeps one connection to any of ``addresses``, for ever, until ``close``.

    Plain connections under our own supervision: the clients' own recovery ignores timeouts,
    recreates deleted queues and never replays a publish.
    """

    def __init__(
        self,
        make_wire: Callable[[], Wire],
        addresses: Sequence[Address],
        *,
        name: str,
        longest_pause: float = LONGEST_PAUSE_SECONDS,
    ) -> None:
        self._make_wire = make_wire
        self._addresses = itertools.cycle(addresses)
        # On its own: asking at each host in turn must not bring the link back to the same one.
        self._asked = itertools.cycle(addresses)
        self.hosts = len(addresses)
        self._name = name
        self._listeners: list[LinkListener] = []
        self._pause = tenacity.wait_random_exponential(multiplier=0.25, max=longest_pause)
        self._task: asyncio.Task[None] | None = None
        self._lost: asyncio.Future[str] | None = None
        self._newest: Wire | None = None
        self.wire: Wire | None = None
        self.generation = 0
        self.blocked = False
        self.trouble: str | None = "not connected yet"
        self.refused = False

    def listen(self, listener: LinkListener) -> None:
        """Tell ``listener`` of every change from now on, and of the connection that is there."""
        self._listeners.append(listener)
        if self.wire is not None:
            listener.link_up(self.wire, self.generation)
            if self.blocked:
                listener.link_blocked(True)

    def forget(self, listener: LinkListener) -> None:
        """Tell ``listener`` no more."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def start(self) -> None:
        """Begin connecting; call it once, on the I/O loop."""
        self._task = asyncio.get_running_loop().create_task(self._keep())

    def renew(self, reason: str) -> None:
        """Give this connection up and make another: it is open but does not answer."""
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(reason)

    @asynccontextmanager
    async def another(self) -> AsyncIterator[Wire]:
        """A second connection, to each host in turn, for a question that may cost it.

        It is closed afterwards. Raises ``ConnectionLost`` when it cannot be made. Wires over one
        given connection share that, and here too.
        """
        wire, address = self._make_wire(), next(self._asked)
        try:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    await wire.open(address, name=f"{self._name} (asks)")
            except Exception as error:  # client libraries raise all sorts
                raise ConnectionLost(_reason(error, address)) from error
            yield wire
        finally:
            await _close(wire)

    async def close(self) -> None:
        """Close the connection and stop keeping one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        wire, self.wire = self.wire, None
        if wire is not None:
            await _close(wire)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            wire = await self._connect()
            since = loop.time()
            assert self._lost is not None
            self._up(wire)
            reason = await self._lost
            self._down(reason)
            # In the background: closing a connection that no longer answers takes its time.
            closing = loop.create_task(_close(wire))
            if loop.time() - since < SHORT_LIFE_SECONDS:
                await asyncio.sleep(SHORT_LIFE_SECONDS / 2)
            await asyncio.wait([closing], timeout=1)

    async def _connect(self) -> Wire:
        retrying = tenacity.AsyncRetrying(
            wait=self._pause, retry=tenacity.retry_if_exception_type(ConnectionLost)
        )
        async for attempt in retrying:
            with attempt:
                return await self._open(next(self._addresses))
        raise AssertionError("unreachable: the retrying above has no stop")

    async def _open(self, address: Address) -> Wire:
        wire = self._newest = self._make_wire()
        self.blocked = False
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def closed(reason: str) -> None:
            if not lost.done():
                lost.set_result(reason)

        wire.closed = closed
        wire.blocked = lambda blocked: self._on_blocked(wire, blocked)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await wire.open(address, name=self._name)
        except Exception as error:  # client libraries raise all sorts; a link never gives up
            await _close(wire)
            text = _reason(error, address)
            self.refused = isinstance(error, AccessRefused)
            self._tell_down(text)
            raise ConnectionLost(text) from error
        self._lost = lost
        return wire

    def _up(self, wire: Wire) -> None:
        self.wire, self.trouble, self.refused = wire, None, False
        self.generation += 1
        for listener in tuple(self._listeners):
            _tell(listener.link_up, wire, self.generation)
            if self.blocked:  # the alarm was told before the connection was complete
                _tell(listener.link_blocked, True)

    def _down(self, reason: str) -> None:
        self.wire = None
        self._tell_down(reason)

    def _tell_down(self, reason: str) -> None:
        self.trouble = reason
        for listener in tuple(self._listeners):
            _tell(listener.link_down, reason)

    def _on_blocked(self, wire: Wire, blocked: bool) -> None:
        if wire is not self._newest:
            return  # an earlier connection that is still being closed
        self.blocked = blocked
        for listener in tuple(self._listeners):
            _tell(listener.link_blocked, blocked)


def _tell(call: Callable[..., None], *args: object) -> None:
    """A listener's fault must neither end the link nor keep the news from the others."""
    try:
        call(*args)
    except Exception as error:
        _report("a listener of a connection failed", error)


async def _close(wire: Wire) -> None:
    try:
        await wire.close()
    except Exception as error:
        _report("closing a connection failed", error)


def _report(message: str, error: Exception) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _reason(error: Exception, address: Address) -> str:
    if isinstance(error, TimeoutError):
        return str(error) or f"no answer from {address} within {CONNECT_SECONDS:.0f} s"
    if isinstance(error, BrokerError | OSError):
        return str(error)
    return f"no connection to {address}: {error!r}"

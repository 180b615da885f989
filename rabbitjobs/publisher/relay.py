"""From the outbox to the wire: what a transaction promised is published, confirmed, marked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from rabbitjobs.clock import now
from rabbitjobs.errors import RabbitJobsError
from rabbitjobs.publisher.completion import completion
from rabbitjobs.publisher.prepare import outgoing_of
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.wire.protocol import Outgoing

if TYPE_CHECKING:
    from rabbitjobs.store.outbox import Outbox, OutboxRow

IDLE_SECONDS = 0.5
POSTPONE_SECONDS = 5.0
BATCH = 100


def outgoing_of_row(row: OutboxRow, spec: TopologySpec) -> Outgoing:
    """The message of an outbox row, routed now: the topology may have changed since it was put."""
    if row.ended_as is not None:
        return completion(row.envelope, row.ended_as, row.ended or now(), spec)
    due = now() + row.delay if row.delay is not None else row.envelope.due
    envelope = msgspec.structs.replace(row.envelope, queue=row.queue, due=due)
    return outgoing_of(envelope, spec)


class Relay:
    """Publishes what waits in the outbox until it is cancelled. Any number of them may run.

    ``trouble`` is told each time something fails, and gets an empty text when all goes well.
    A crash between confirm and mark publishes a row twice: same job id, same attempt, and the
    second is dropped by the inbox.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        spec: Callable[[], TopologySpec],
        publish: Callable[[Outgoing], Awaitable[None]],
        trouble: Callable[[str], None],
    ) -> None:
        self._outbox = outbox
        self._spec = spec
        self._publish = publish
        self._trouble = trouble
        self._held_until = 0.0

    async def run(self) -> None:
        """Relay for ever; a store or broker that is away is waited for."""
        while True:
            try:
                busy = await self.once()
            except Exception as error:  # it runs for as long as the process: nothing may end it
                self._trouble(str(error) if isinstance(error, RabbitJobsError) else repr(error))
                busy = False
            else:
                if time.monotonic() > self._held_until:
                    self._trouble("")
            if not busy:
                await asyncio.sleep(IDLE_SECONDS)

    async def once(self) -> bool:
        """Publish one batch; whether there was any."""
        rows = await self._outbox.atake(BATCH)
        sent = await asyncio.gather(*(self._send(row) for row in rows))
        done = [row for row, confirmed in zip(rows, sent, strict=True) if confirmed]
        if done:
            await self._outbox.apublished(done)
        return bool(rows)

    async def _send(self, row: OutboxRow) -> bool:
        try:
            await self._publish(outgoing_of_row(row, self._spec()))
        except (
            RabbitJobsError
        ) as error:  # one row that cannot be sent must not hold back the others
            self._trouble(str(error))
            # Only a row that has had its next try and does not come back has been sent.
            self._held_until = time.monotonic() + 2 * POSTPONE_SECONDS
            await self._outbox.apostpone(row, str(error), POSTPONE_SECONDS)
            return False
        return True

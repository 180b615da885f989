"""A publisher in a process of its own: sends without end, each id until it is confirmed.

``python -m tests.faults.publisher --rate 100 --name a`` appends A before and C after each send.
SIGTERM ends it in order: it begins nothing new and confirms what it began. With ``--recover`` it
first sends again, under the same id, what an earlier life of it attempted and did not confirm.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from rabbitjobs import RabbitJobs
from rabbitjobs.errors import QueueFull, SendError, SendRefused, Unroutable
from rabbitjobs.job.definition import Job
from tests.faults.ledger import Pen, read


@dataclass(frozen=True)
class Order:
    """What to send: the kinds of jobs in turn, how long they take, how fast."""

    name: str
    rate: float
    senders: int
    mix: Sequence[str]
    seconds: float
    deadline: float
    own_ids: bool
    count: int
    delay: float


class Publisher:
    """Sends by an order until it is told to stop."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._ledger = Path(os.environ["FAULTS_LEDGER"])
        self._pen = Pen(self._ledger)
        self._app = RabbitJobs()
        self._jobs = {kind: self._app.remote(kind, queue="work") for kind in {*order.mix}}
        self._delay = timedelta(seconds=order.delay) if order.delay else None
        self._numbers = itertools.count()
        self._stop = asyncio.Event()

    async def run(self, *, recover: bool) -> None:
        """Send until SIGTERM, or until ``count`` have been sent."""
        loop = asyncio.get_running_loop()

        def stop(*_: object) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._stop.set)

        # Not the loop's own handler, which is gone with the loop: see ``main``.
        signal.signal(signal.SIGTERM, stop)
        if recover:
            await self._recover()
        await asyncio.gather(*(self._keep_sending() for _ in range(self._order.senders)))
        await asyncio.to_thread(self._app.close)

    async def _recover(self) -> None:
        lines = read(self._ledger)
        confirmed = {line.token for line in lines if line.kind == "C"}
        begun = dict.fromkeys(line.token for line in lines if line.kind == "A")
        mine = [token for token in begun if token.startswith(f"{self._order.name}-")]
        for token in mine:
            if token not in confirmed:
                await self._confirm(token, self._job(_number(token)), own_id=True)
        self._numbers = itertools.count(max(map(_number, mine), default=-1) + 1)

    async def _keep_sending(self) -> None:
        pause = self._order.senders / self._order.rate
        while not self._stop.is_set():
            begun = time.monotonic()
            number = next(self._numbers)
            if 0 <= self._order.count <= number:
                return
            token = f"{self._order.name}-{number}"
            own_id = self._order.own_ids or number % 2 == 0
            await self._confirm(token, self._job(number), own_id=own_id)
            try:
                async with asyncio.timeout(max(0.0, begun + pause - time.monotonic())):
                    await self._stop.wait()
            except TimeoutError:
                continue

    def _job(self, number: int) -> Job[..., object]:
        mix = self._order.mix
        return self._jobs[mix[number % len(mix)]]

    async def _confirm(self, token: str, job: Job[..., object], *, own_id: bool) -> None:
        """Send until it is confirmed, as a service does: an unknown outcome under the same id."""
        begun = time.monotonic()
        self._pen.write("A", token, token if own_id else "-")
        job_id = token if own_id else None
        while True:
            try:
                sending = job.options(id=job_id, timeout=self._order.deadline, delay=self._delay)
                handle = await sending.asend(token, self._order.seconds)
            except SendError as error:
                job_id = error.job_id
                self._pen.write("U", token, job_id or "-", type(error).__name__)
                if isinstance(error, QueueFull | Unroutable | SendRefused):
                    await asyncio.sleep(0.2)  # these are told at once
            else:
                self._pen.write("C", token, handle.id, f"{time.monotonic() - begun:.3f}")
                return


def _number(token: str) -> int:
    return int(token.rpartition("-")[2])


def main() -> None:
    """Read the command line and publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="p")
    parser.add_argument("--rate", type=float, default=100, help="jobs in a second")
    parser.add_argument("--senders", type=int, default=10, help="sends at a time")
    parser.add_argument("--mix", default="mark", help="kinds of jobs, in turn: mark,mark,flaky")
    parser.add_argument("--seconds", type=float, default=0.02, help="how long a job takes")
    parser.add_argument("--deadline", type=float, default=10, help="of one try to send")
    parser.add_argument("--own-ids", action="store_true")
    parser.add_argument("--count", type=int, default=-1)
    parser.add_argument("--delay", type=float, default=0, help="seconds until a job is due")
    parser.add_argument("--recover", action="store_true")
    options = vars(parser.parse_args())
    recover = options.pop("recover")
    mix = options.pop("mix").split(",")
    asyncio.run(Publisher(Order(mix=mix, **options)).run(recover=recover))
    # A signal in the last moments of a publisher that has sent all of its jobs must not kill it:
    # the interpreter puts the default back for every handler of ours on its way out.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


if __name__ == "__main__":
    main()

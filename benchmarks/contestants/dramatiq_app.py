"""Dramatiq as reliable as it can be set: quorum queues, publisher confirms, 8 threads."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import CurrentMessage
from marks import URL, Trips, attempt, count, mark, say_times, send_failing, time_sends, told

QUEUE = "dramatiq"


class QuorumBroker(RabbitmqBroker):
    """Declares every queue as a quorum queue."""

    def _build_queue_arguments(self, queue_name: str) -> dict[str, object]:
        return {**super()._build_queue_arguments(queue_name), "x-queue-type": "quorum"}


broker = QuorumBroker(url=URL, confirm_delivery=True)
if redis := os.environ.get("BENCH_REDIS"):
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker.add_middleware(Results(backend=RedisBackend(url=redis), store_results=True))
if os.environ.get("BENCH_FAILING"):
    broker.add_middleware(CurrentMessage())
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def noop(payload: str) -> int:
    """The job."""
    mark(payload)
    return 1


@dramatiq.actor(queue_name=QUEUE, max_retries=1, min_backoff=1, max_backoff=1)
def failing(payload: str) -> None:
    """The job that fails now and then, tried again after a millisecond."""
    message = CurrentMessage.get_current_message()
    attempt(payload, not message.options.get("retries"))


def result_trips() -> None:
    """Send, and block until the result is there."""
    times = []
    for _ in range(count()):
        before = time.perf_counter()
        noop.send("").get_result(block=True, timeout=30_000)
        times.append(time.perf_counter() - before)
    say_times(times)


if __name__ == "__main__":
    if told() == "work":
        from dramatiq import cli

        here = str(Path(__file__).resolve().parent)
        sys.argv = ["dramatiq", "-p", "1", "-t", "8", "--path", here, "--", "dramatiq_app"]
        sys.exit(cli.main())
    elif told() == "send":
        time_sends(noop.send)
    elif told() == "send-failing":
        send_failing(failing.send)
    elif told() == "trip":
        Trips().run(noop.send)
    elif told() == "results":
        result_trips()

"""Celery as reliable as it can be set: late acks, publisher confirms, quorum queues."""

from __future__ import annotations

import os
import time

from celery import Celery, Task
from kombu import Queue
from marks import (
    URL,
    Passing,
    Trips,
    attempt,
    count,
    mark,
    say_times,
    send_failing,
    time_sends,
    told,
)

QUEUE = "celery"
redis = os.environ.get("BENCH_REDIS")

app = Celery("bench", broker=URL, backend=redis)
app.conf.update(
    task_queues=[Queue(QUEUE, queue_arguments={"x-queue-type": "quorum"})],
    task_default_queue=QUEUE,
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=redis is None,
    worker_prefetch_multiplier=64,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    worker_disable_rate_limits=True,
    worker_hijack_root_logger=False,
    worker_enable_remote_control=False,
    worker_send_task_events=False,
)


@app.task(name="noop")
def noop(payload: str) -> int:
    """The job."""
    mark(payload)
    return 1


@app.task(name="failing", bind=True, max_retries=1)
def failing(self: Task, payload: str) -> None:
    """The job that fails now and then, tried again without a pause."""
    try:
        attempt(payload, self.request.retries == 0)
    except Passing as error:
        raise self.retry(exc=error, countdown=0) from error


def result_trips() -> None:
    """Send, and block until the result is there."""
    times = []
    for _ in range(count()):
        before = time.perf_counter()
        noop.delay("").get(timeout=30)
        times.append(time.perf_counter() - before)
    say_times(times)


if __name__ == "__main__":
    if told() == "work":
        pool = os.environ.get("BENCH_POOL", "prefork:1")
        kind, _, size = pool.partition(":")
        app.worker_main(
            [
                "worker",
                "-Q",
                QUEUE,
                "-P",
                kind,
                "-c",
                size,
                "-l",
                "ERROR",
                "--without-gossip",
                "--without-mingle",
                "--without-heartbeat",
            ]
        )
    elif told() == "send":
        time_sends(noop.delay)
    elif told() == "send-failing":
        send_failing(failing.delay)
    elif told() == "trip":
        Trips().run(noop.delay)
    elif told() == "results":
        result_trips()

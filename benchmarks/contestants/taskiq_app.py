"""taskiq on aio-pika: acks after execution, publisher confirms, a quorum queue."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvloop
from marks import URL, Trips, atime_sends, mark, told
from taskiq.acks import AcknowledgeType
from taskiq_aio_pika import AioPikaBroker, Queue, QueueType

broker = AioPikaBroker(
    URL,
    qos=200,
    task_queues=[Queue(name="taskiq", type=QueueType.QUORUM, durable=True)],
)


@broker.task(task_name="noop")
async def noop(payload: str) -> None:
    """The job."""
    mark(payload)


async def main() -> None:
    """Send what was asked for."""
    await broker.startup()
    if told() == "send":
        await atime_sends(noop.kiq)
    else:
        await Trips().arun(noop.kiq)
    await broker.shutdown()


if __name__ == "__main__":
    if told() == "work":
        os.chdir(Path(__file__).resolve().parent)
        from taskiq.__main__ import main as taskiq_main

        sys.argv = [
            "taskiq",
            "worker",
            "taskiq_app:broker",
            "--workers",
            "1",
            "--ack-type",
            AcknowledgeType.WHEN_EXECUTED.value,
            "--log-level",
            "ERROR",
            "--no-parse",
            "--max-async-tasks",
            "200",
        ]
        taskiq_main()
    else:
        uvloop.run(main())

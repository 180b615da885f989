"""Hard limits and the broker's consumer timeout: no job is taken back before its time is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.version import from_version
from tests.broker.crew import Crew, crew

SHOP = """
from datetime import timedelta
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("movie", queue="work", pool="processes", hard_limit=timedelta(hours=2))
def movie(number: int) -> int:
    return number
"""
TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {work: {}}\n"


@pytest.fixture
def shop(node: Node, tmp_path: Path) -> Iterator[Crew]:
    """With one job that may take two hours, on a queue that says nothing of it."""
    with crew(node, tmp_path, SHOP, TOPOLOGY) as found:
        yield found


def test_a_worker_has_the_time_that_its_jobs_may_take_or_does_not_start(
    shop: Crew,
) -> None:
    """On 4.3 it asks for it; elsewhere it says what to set."""
    job_id = shop.app.remote("movie", queue="work").send(1).id
    worker = shop.consume("work")
    if from_version(shop.node.version).generation == "4.3":
        shop.until_status(Status.SUCCEEDED, job_id)
        listed = shop.node.rabbitmqctl(
            "-p", shop.vhost, "list_consumers", "queue_name", "arguments"
        )
        assert f'{{"x-consumer-timeout",{(2 * 60 + 1) * 60_000}}}' in listed
    else:
        assert worker.ends() != 0
        assert "longest hard_limit of 2h, got 30m; set time_limit: 2h on the queue" in worker.log

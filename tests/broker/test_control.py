"""Remote control of real workers on a real broker: each command, and who did not answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.control import protocol
from rabbitjobs.control.client import ControlClient
from rabbitjobs.control.presence import present
from tests.broker.crew import Crew, Worker, until

SHOP = """
import asyncio, time
from pathlib import Path
from rabbitjobs import RabbitJobs

app = RabbitJobs()


def write(name, text):
    with open(name, "a") as file:
        print(text, file=file)


@app.job("note", queue="work")
def note(number: int) -> int:
    write("done", number)
    return number


@app.job("hold", queue="work")
def hold(number: int) -> int:
    write("begun", number)
    while not Path("go").exists():
        time.sleep(0.01)
    return number


async def deep_inside() -> None:
    while not Path("go").exists():
        await asyncio.sleep(0.01)


@app.job("waits", queue="work")
async def waits(number: int) -> int:
    write("begun", number)
    await deep_inside()
    return number


@app.job("blocks", queue="work")
async def blocks() -> int:
    write("begun", "blocks")
    while not Path("go").exists():
        time.sleep(0.01)
    return 1
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {concurrency: 2, prefetch: 4}
  one: {ordered: true}
"""


@pytest.fixture
def client(shop: Crew) -> Iterator[ControlClient]:
    """Asks the workers of the shop."""
    app = shop.app
    found = ControlClient(
        app.parts.session(),
        "shop",
        who="ann",
        present=lambda: present(app.parts.management, "shop", shop.vhost),
    )
    yield found
    found.close()


def name_of(worker: Worker) -> str:
    """The worker as it names itself."""
    return f"{os.uname().nodename}:{worker.process.pid}"


def ready(shop: Crew, *queues: str) -> list[Worker]:
    """Workers that consume and hear."""
    found = [shop.consume(queue) for queue in queues]
    for worker in found:
        worker.says("consuming")
    return found


def hearing(client: ControlClient, worker: Worker) -> None:
    """Wait until a worker hears: it consumes a moment before."""
    until(lambda: client.ask(protocol.Ping(), timeout=1, to=(name_of(worker),)).answers)


def only(client: ControlClient, command: protocol.AnyCommand, worker: Worker) -> Any:
    """What one worker answers."""
    hearing(client, worker)
    asked = client.ask(command, timeout=20, to=(name_of(worker),))
    (answer,) = asked.answers
    assert (answer.worker, answer.error, asked.silent) == (name_of(worker), None, ())
    return answer.value


def test_each_worker_answers_and_a_stopped_one_is_named(shop: Crew, client: ControlClient) -> None:
    """Who is there the broker says; the one that stands still is told of as silent."""
    first, second = ready(shop, "work", "one")
    names = sorted([name_of(first), name_of(second)])
    # A queue is listed a moment before it hears.
    hearing(client, first)
    hearing(client, second)
    until(lambda: sorted(client._present() or ()) == names)
    asked = client.ask(protocol.Ping(), timeout=20)
    assert [one.worker for one in asked.answers] == names
    assert asked.silent == ()
    second.signal(signal.SIGSTOP)

    def told() -> bool:
        asked = client.ask(protocol.Ping(), timeout=2)
        answered = [one.worker for one in asked.answers]
        return (answered, asked.silent) == ([name_of(first)], (name_of(second),))

    until(told)  # the first may be slow to answer; the second never does
    second.signal(signal.SIGCONT)


def test_what_a_worker_tells_of_itself(shop: Crew, client: ControlClient) -> None:
    """Stats, what runs, what waits, what it knows, and where running jobs are in their code."""
    (worker,) = ready(shop, "work")
    hold, waits, note = (shop.app.remote(name, queue="work") for name in ("hold", "waits", "note"))
    running = [hold.send(1), waits.options(tag="t").send(2)]
    until(lambda: len(shop.lines("begun")) == 2)
    held = note.send(3)
    until(lambda: [one["job_id"] for one in only(client, protocol.Reserved(), worker)] == [held.id])
    active = {one["job_id"]: one for one in only(client, protocol.Active(), worker)}
    assert set(active) == {one.id for one in running}
    assert active[running[1].id]["tag"] == "t"
    (queue,) = only(client, protocol.Stats(), worker)["queues"]
    assert (queue["busy"], queue["waiting"], queue["slots"]) == (2, 1, 2)
    assert queue["state"] == "consuming"
    jobs = {one["job"] for one in only(client, protocol.Registered(), worker)}
    assert jobs == {"note", "hold", "waits", "blocks"}

    def inside() -> bool:
        stacks = {one["job"]: one["stack"] for one in only(client, protocol.Stacks(), worker)}
        assert "in hold" in stacks["hold"]
        # Between two naps they look whether they may go.
        return "time.sleep" in stacks["hold"] and "in deep_inside" in stacks["waits"]

    until(inside)
    (shop.folder / "go").touch()


def test_a_worker_answers_while_a_job_blocks_its_loop(shop: Crew, client: ControlClient) -> None:
    """And says where that job is: the moment when somebody wants to know."""
    (worker,) = ready(shop, "work")
    shop.app.remote("blocks", queue="work").send()
    until(lambda: shop.lines("begun") == ["blocks"])
    assert only(client, protocol.Ping(), worker)["pid"] == worker.process.pid
    (stack,) = only(client, protocol.Stacks(), worker)
    assert "in blocks" in stack["stack"]
    (shop.folder / "go").touch()


def test_slots_are_set_while_it_works(shop: Crew, client: ControlClient) -> None:
    """More than before run at a time, beyond the prefetch too; then fewer. Nothing is lost."""
    (worker,) = ready(shop, "work")
    hold = shop.app.remote("hold", queue="work")
    handles = [hold.send(number) for number in range(12)]
    until(lambda: len(shop.lines("begun")) == 2)
    (done,) = only(client, protocol.SetSlots("work", 8), worker)
    assert (done["before"], done["slots"]) == (2, 8)
    until(lambda: len(shop.lines("begun")) == 8)
    only(client, protocol.SetSlots("work", 1), worker)
    (shop.folder / "go").touch()
    assert [one.result(timeout=40) for one in handles] == list(range(12))
    until(lambda: shop.total("q.work") == 0)
    (queue,) = only(client, protocol.Stats(), worker)["queues"]
    assert queue["slots"] == 1


def test_a_rate_is_set_while_it_works(shop: Crew, client: ControlClient) -> None:
    """On a queue that had none: the jobs that wait keep it; then another one, of their job."""
    (worker,) = ready(shop, "work")
    (done,) = only(client, protocol.SetRate("work", "2/s"), worker)
    assert done == {"queue": "work", "job": None, "rate": "2/s", "before": None}
    note = shop.app.remote("note", queue="work")
    begun = now()
    slow = [note.send(number) for number in range(6)]
    assert [one.result(timeout=40) for one in slow] == list(range(6))
    assert now() - begun >= 2.2  # five spacings, less a moment
    (done,) = only(client, protocol.SetRate("work", "1000/s"), worker)
    assert (done["rate"], done["before"]) == ("1000/s", "2/s")
    (done,) = only(client, protocol.SetRate("work", "500/s", "note"), worker)
    assert (done["job"], done["rate"]) == ("note", "500/s")
    quick = [note.send(number) for number in range(60)]
    begun = now()
    assert [one.result(timeout=40) for one in quick] == list(range(60))
    assert now() - begun < 20


def test_a_queue_is_paused_and_resumed(shop: Crew, client: ControlClient) -> None:
    """What runs ends; what waits stays in the queue, for others or for later."""
    (worker,) = ready(shop, "work")
    hold, note = (shop.app.remote(name, queue="work") for name in ("hold", "note"))
    running = hold.send(1)
    until(lambda: shop.lines("begun") == ["1"])
    only(client, protocol.Pause("work"), worker)
    worker.says("paused")
    waiting = [note.send(number) for number in range(5)]
    until(lambda: shop.ready("q.work") == 5)
    (shop.folder / "go").touch()
    assert running.result(timeout=40) == 1
    assert shop.lines() == []
    only(client, protocol.Resume("work"), worker)
    assert [one.result(timeout=40) for one in waiting] == list(range(5))
    until(lambda: shop.total("q.work") == 0)


def test_a_worker_is_shut_down_in_order(shop: Crew, client: ControlClient) -> None:
    """What runs is finished; the other worker goes on."""
    first, second = ready(shop, "work", "one")
    running = shop.app.remote("hold", queue="work").send(1)
    until(lambda: shop.lines("begun") == ["1"])
    only(client, protocol.Shutdown(), first)
    first.says("stopping")
    (shop.folder / "go").touch()
    assert first.ends() == 0
    shop.until_status(Status.SUCCEEDED, running.id)
    assert second.process.poll() is None


def test_what_a_worker_does_not_do_is_answered_as_an_error(
    shop: Crew, client: ControlClient
) -> None:
    """One slot is one slot; rates need somebody who keeps them."""
    (worker,) = ready(shop, "one")
    hearing(client, worker)
    for command, said in (
        (protocol.SetSlots("one", 3), "an ordered queue"),
        (protocol.SetRate("one", "10/s"), "rates"),
    ):
        (answer,) = client.ask(command, timeout=20, to=(name_of(worker),)).answers
        assert said in str(answer.error)


def test_what_cannot_be_read_changes_nothing(shop: Crew, client: ControlClient) -> None:
    """Not JSON, unknown commands and fields, another version, numbers out of range."""
    (worker,) = ready(shop, "work")
    hearing(client, worker)
    good = '{"at": %f, "command": {"command": "set-slots", "queue": "work", "slots": 9}%s}'
    bad = [
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"command": {"command": "shutdown"}}',
        (good % (now(), ', "v": 2')).encode(),
        (good % (now(), ', "more": 1')).encode(),
        (good % (now() - 9999, "")).encode(),
        (good % (now(), ', "reply": "#"')).encode(),
        (good % (now(), "")).replace("9}", "0}").encode(),
        (good % (now(), "")).replace("set-slots", "exec").encode(),
    ]
    connection = pika.BlockingConnection(pika.URLParameters(shop.url))
    channel = connection.channel()
    for body in bad:
        channel.basic_publish("shop.control", "all", body)
    connection.close()
    worker.says("ControlDropped", len(bad))
    (queue,) = only(client, protocol.Stats(), worker)["queues"]
    assert queue["slots"] == 2
    assert worker.process.poll() is None


def test_the_commands_of_the_shell_find_who_is_there(shop: Crew) -> None:
    """By the management API; the exit code says that one stands still."""
    first, second = ready(shop, "work", "one")

    def run(*command: str) -> tuple[int, Any]:
        ran = shop.start(*command, "--json")
        code = ran.ends()
        return code, json.loads(ran.log)

    patient = ("--timeout", "20s")  # nobody waits longer than for the last answer
    names = {name_of(first), name_of(second)}
    until(lambda: set(run("inspect", "ping", "--timeout", "3s")[1]["answers"]) == names)
    code, told = run("control", "slots", "work", "3", *patient)
    assert (code, told["no_answer"]) == (0, [])
    assert told["answers"][name_of(first)] == [{"queue": "work", "slots": 3, "before": 2}]
    assert told["answers"][name_of(second)] == []
    second.signal(signal.SIGSTOP)
    code, told = run("inspect", "ping", "--timeout", "4s")
    second.signal(signal.SIGCONT)
    assert (code, told["no_answer"]) == (3, [name_of(second)])
    code, told = run("control", "cancel", "--tag", "t", "--why", "moved", *patient)
    assert code == 0 and name_of(first) in told["answers"]

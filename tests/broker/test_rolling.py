"""`rabbitjobs run` as a service manager meets it: renewed by SIGHUP, asked how it is, in a loop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pika

from rabbitjobs.backend.protocol import Status
from tests.broker.crew import Crew, Worker, until
from tests.docs.reader import free_port

SHOP = """
import os, time
from pathlib import Path
from rabbitjobs import RabbitJobs

VERSION = 1
app = RabbitJobs()


@app.job("which", queue="one")
def which() -> list[int]:
    return [VERSION, os.getpid()]


@app.job("hold", queue="one")
def hold() -> int:
    Path("held").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return VERSION


@app.job("other", queue="two")
def other() -> list[int]:
    return [VERSION, os.getpid()]
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  one: {processes: 2}
  two: {}
"""


def children(worker: Worker) -> list[str]:
    """The process ids below it."""
    path = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    return path.read_text().split()


def renewed(shop: Crew, version: int) -> None:
    """The code is of another version from now on."""
    path = shop.folder / "shop.py"
    # Of another size too: within one second, only that tells Python that its cache is of old.
    path.write_text(
        SHOP.replace("VERSION = 1", f"VERSION = {version}  # renewed"), encoding="utf-8"
    )


def where(shop: Crew, job: str, queue: str) -> list[int]:
    """The version that a job runs in, and the process."""
    found: list[int] = shop.app.remote(job, queue=queue).send().result(timeout=40)
    return found


@contextmanager
def watched(shop: Crew, count: int) -> Iterator[list[dict[str, object]]]:
    """Events of the kinds that processes have, seen from elsewhere; filled at the end."""
    seen: list[dict[str, object]] = []
    with subprocess.Popen(
        [sys.executable, "-m", "rabbitjobs", "events", "--json", "--count", str(count)],
        cwd=shop.folder, env=shop.environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as watching:  # fmt: skip
        try:
            assert watching.stderr is not None
            assert "watching" in watching.stderr.readline()
            yield seen
            out, _ = watching.communicate(timeout=40)
            seen += [json.loads(line) for line in out.splitlines()]
        finally:
            watching.kill()


def test_the_config_says_how_many_processes_a_queue_has(shop: Crew) -> None:
    """The command line says otherwise if it wants to."""
    team = shop.start("run", "--no-intake", "--no-notify")
    team.says("healthy: consuming", 3)
    assert len(children(team)) == 3
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log
    team = shop.start("run", "one", "--processes", "one=1", "--no-intake", "--no-notify")
    team.says("healthy: consuming")
    assert len(children(team)) == 1
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log


def test_a_hangup_renews_each_process_and_somebody_always_consumes(shop: Crew) -> None:
    """The new one consumes before the old one stops, which ends the job that it has."""
    team = shop.start("run", "one", "--processes", "one=1", "--no-intake", "--no-notify")
    team.says("healthy: consuming")
    held = shop.app.remote("hold", queue="one").send()
    until((shop.folder / "held").exists, why=lambda: team.log)
    (old,) = children(team)
    renewed(shop, 2)
    team.signal(signal.SIGHUP)
    team.says("process renewed: the new one works, the old one stops")
    log = team.log
    assert log.count("healthy: consuming") == 2
    assert log.rindex("healthy: consuming") < log.index("process renewed")
    # It has been told to stop, and hears it: while both consume, jobs go to them in turn.
    until(lambda: {where(shop, "which", "one")[0] for _ in range(4)} == {2}, why=lambda: team.log)
    assert old in children(team)
    assert shop.status(held.id) is Status.RUNNING
    (shop.folder / "go").touch()
    assert held.result(timeout=40) == 1
    team.says("rolling restart is over")
    assert len(children(team)) == 1
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log


def test_every_process_is_renewed_and_watchers_are_told(shop: Crew) -> None:
    """Queue after queue, all of a queue; jobs that are sent meanwhile run all the same."""
    team = shop.start("run", "--no-intake", "--no-notify")
    team.says("healthy: consuming", 3)
    before = set(children(team))
    sent = [shop.app.remote("other", queue="two").send() for _ in range(20)]
    renewed(shop, 2)
    team.signal(signal.SIGHUP)
    sent += [shop.app.remote("other", queue="two").send() for _ in range(20)]
    team.says("rolling restart is over")
    assert not before & set(children(team))
    assert len(children(team)) == 3
    assert all(one.result(timeout=40) for one in sent)
    names = [
        json.loads(line)["process"] for line in team.log.splitlines() if "process renewed" in line
    ]
    assert names == ["one 1", "one 2", "two"]
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log


def test_a_new_process_that_does_not_get_to_work_leaves_the_old_one_in_place(shop: Crew) -> None:
    """It is said, with the reason; the other queues are renewed by the same rule."""
    team = shop.start("run", "--no-intake", "--no-notify")
    team.says("healthy: consuming", 3)
    before = set(children(team))
    with watched(shop, 2) as seen:
        (shop.folder / "shop.py").write_text(
            "raise RuntimeError('a bad release')", encoding="utf-8"
        )
        team.signal(signal.SIGHUP)
        team.says("rolling restart is over")
    assert [(one["event"], one["process"]) for one in seen] == [
        ("ProcessNotRenewed", "one 1"),
        ("ProcessNotRenewed", "two"),
    ]
    assert "a bad release" in team.log
    assert set(children(team)) == before
    assert where(shop, "which", "one")[0] == 1
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log


def test_a_crash_loop_backs_off_and_is_reported(shop: Crew) -> None:
    """By log lines and as events; it ends when the cause does."""
    team = shop.start("run", "two", "--no-intake", "--no-notify")
    team.says("healthy: consuming")
    old = where(shop, "other", "two")[1]
    with watched(shop, 4) as seen:
        (shop.folder / "shop.py").write_text(
            "raise RuntimeError('a bad release')", encoding="utf-8"
        )
        subprocess.run(["kill", "-9", str(old)], check=True)
        team.says("process is in a crash loop")
        team.says("process is in a crash loop", 2)
    assert {one["event"] for one in seen} == {"ProcessEnded"}
    assert [one["failures"] for one in seen] == [1, 2, 3, 4]
    assert [one["ending"] for one in seen] == ["signal SIGKILL", *["exit code 1"] * 3]
    pauses = [float(str(one["pause"])) for one in seen]
    assert pauses[3] > 2 * pauses[0]
    renewed(shop, 3)
    team.says("healthy: consuming", 2)
    assert where(shop, "other", "two")[0] == 3
    team.signal(signal.SIGTERM)
    assert team.ends() == 0, team.log


def probe(port: int, what: str) -> httpx.Response:
    """What a service manager is told there."""
    return httpx.get(f"http://127.0.0.1:{port}/{what}", timeout=40)


def test_readiness_and_liveness_are_told_by_http_and_by_file(shop: Crew) -> None:
    """By the supervisor for all, by one worker for itself; on loopback unless told otherwise."""
    port, file = free_port(), shop.folder / "health"
    for command in (("run", "two", "--no-intake", "--no-notify"), ("consume", "two")):
        worker = shop.start(*command, "--health", str(port), "--health-file", str(file))
        until(lambda: file.exists() and file.read_text().startswith("ready\n"))
        ready = probe(port, "ready")
        assert ready.status_code == 200
        (part,) = ready.json()["parts"]
        assert (part["name"], part["state"]) == ("two", "consuming")
        assert probe(port, "live").status_code == 200
        with closing(pika.BlockingConnection(pika.URLParameters(shop.url))) as connection:
            connection.channel().queue_delete("shop.q.two")
        until(lambda: probe(port, "ready").status_code == 503)
        until(lambda: file.read_text().startswith("not ready\n"))
        assert probe(port, "live").status_code == 200
        worker.signal(signal.SIGTERM)
        assert worker.ends() == 0, worker.log
        assert not file.exists()
        shop.app.apply()


def test_a_health_address_that_is_taken_is_refused_at_the_start(shop: Crew) -> None:
    """A probe would ask somebody else."""
    port = free_port()
    first = shop.consume("two", "--health", str(port))
    first.says("health is served")
    second = shop.consume("two", "--health", str(port))
    assert second.ends() == 1
    assert f"expected a free address for --health, got 127.0.0.1:{port}" in second.log

"""Readiness and liveness as a prober meets them: the address, the answers, the file."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from rabbitjobs import events
from rabbitjobs.errors import WorkerError
from rabbitjobs.process import health as module
from rabbitjobs.process.address import Address, parse_address
from rabbitjobs.process.health import Health, Part, Subscriptions

WORKING = Part("emails", "consuming")
WAITING = Part("emails", "waiting", "the broker is away")


@asynccontextmanager
async def serving(
    parts: Sequence[Part], *, host: str = "127.0.0.1", file: Path | None = None
) -> AsyncIterator[Health]:
    """Health of these parts, on a free port."""
    health = Health(lambda: parts, Address(host, 0), file)
    await health.start()
    try:
        yield health
    finally:
        await health.stop()


def names(folder: Path) -> list[str]:
    """What lies in a folder."""
    return [one.name for one in folder.iterdir()]


async def ask(health: Health, head: str) -> tuple[int, Any]:
    """Send the head of a request; returns status and body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
    writer.write(head.encode() + b"\r\n\r\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    head_back, _, body = answer.partition(b"\r\n\r\n")
    return int(head_back.split()[1]), json.loads(body) if body else None


@pytest.mark.parametrize(
    ("text", "host", "port", "private"),
    [
        ("8080", "127.0.0.1", 8080, True),
        (":8080", "127.0.0.1", 8080, True),
        ("localhost:1", "localhost", 1, True),
        ("[::1]:8080", "::1", 8080, True),
        ("0.0.0.0:8080", "0.0.0.0", 8080, False),
        ("probe.example:80", "probe.example", 80, False),
    ],
)
def test_only_loopback_unless_told(text: str, host: str, port: int, private: bool) -> None:
    """A port alone is one of this machine."""
    found = parse_address(text)
    assert (found, found.private) == (Address(host, port), private)


@pytest.mark.parametrize("text", ["", "http", "127.0.0.1:", "1:99999", "1:-1", "1:٣"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected PORT or HOST:PORT, got"):
        parse_address(text)


@pytest.mark.parametrize(
    ("parts", "status"),
    [([WORKING], 200), ([WORKING, WAITING], 503), ([WAITING], 503), ([], 503)],
)
async def test_ready_is_what_consumes_all_of_it(parts: list[Part], status: int) -> None:
    """Before anything has begun it is not; it is alive all the while."""
    async with serving(parts) as health:
        found, body = await ask(health, "GET /ready HTTP/1.1")
        assert (found, body["ready"]) == (status, status == 200)
        assert [one["name"] for one in body["parts"]] == ["emails"] * len(parts)
        assert (await ask(health, "GET /live?verbose HTTP/1.1"))[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET / HTTP/1.1", 404),
        ("GET /ready/ HTTP/1.1", 404),
        ("POST /ready HTTP/1.1", 405),
        ("\x16\x03\x01", 404),
    ],
)
async def test_another_request_is_refused(head: str, status: int) -> None:
    async with serving([WORKING]) as health:
        assert (await ask(health, head))[0] == status


async def test_head_has_no_body() -> None:
    async with serving([WORKING]) as health:
        assert await ask(health, "HEAD /ready HTTP/1.1") == (200, None)


async def test_reasons_are_told_to_this_machine_only() -> None:
    """An error's text is for those who run it."""
    for host, reason in (("127.0.0.1", "the broker is away"), ("0.0.0.0", "")):
        async with serving([WAITING], host=host) as health:
            _, body = await ask(health, "GET /ready HTTP/1.1")
            assert body["parts"][0]["reason"] == reason


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """So is one that says too much."""
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.05)
    async with serving([WORKING]) as health, asyncio.timeout(60):
        for said in (b"", b"GET /" + b"x" * 3 * module.REQUEST_BYTES):
            reader, writer = await asyncio.open_connection("127.0.0.1", health.port)
            writer.write(said)
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            finally:
                writer.close()


async def test_the_file_says_how_it_is_and_is_renewed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each change at once, else now and then; it is gone at the end, and nothing beside it."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)
    file, parts = tmp_path / "health", [WAITING]
    async with serving(parts, file=file) as health, asyncio.timeout(60):
        assert file.read_text() == "not ready\nemails: waiting\n"
        os.utime(file, (0, 0))
        while file.stat().st_mtime == 0:
            await asyncio.sleep(0.005)
        monkeypatch.setattr(module, "BEAT_SECONDS", 3600)
        parts[:] = [WORKING]
        health.changed()
        while file.read_text() != "ready\nemails: consuming\n":
            await asyncio.sleep(0.005)
        assert names(tmp_path) == ["health"]
    assert names(tmp_path) == []


async def test_what_cannot_be_served_is_refused_at_the_start(tmp_path: Path) -> None:
    """A probe would ask nobody, or somebody else."""
    async with serving([WORKING]) as health:
        with pytest.raises(WorkerError, match="expected a free address for --health"):
            await Health(list, Address("127.0.0.1", health.port), None).start()
    with pytest.raises(WorkerError, match="expected a health file that can be written"):
        await Health(list, None, tmp_path / "no" / "health").start()


async def test_it_is_alive_before_there_is_a_loop_and_the_address_stays_taken() -> None:
    """While a worker waits for its broker: not ready, from a thread; then by the loop itself."""
    health = Health(lambda: [WORKING], Address("127.0.0.1", 0), None)
    with health.elsewhere():
        port = health.port
        assert (await ask(health, "GET /live HTTP/1.1"))[0] == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # between the two: it waits
    writer.write(b"GET /ready HTTP/1.1\r\n\r\n")
    await health.start()
    async with asyncio.timeout(60):
        assert (await reader.read()).startswith(b"HTTP/1.1 200 OK")
    writer.close()
    assert health.port == port
    await health.stop()


def test_a_worker_that_cannot_start_leaves_nothing(tmp_path: Path) -> None:
    """Neither its file nor its address."""
    file = tmp_path / "health"
    health = Health(list, Address("127.0.0.1", 0), file)
    with pytest.raises(LookupError), health.elsewhere():
        assert file.read_text() == "not ready\n"
        raise LookupError
    assert not file.exists()
    assert health.port == 0


def test_a_worker_is_ready_by_its_subscriptions() -> None:
    """All that it has told of; none is left when it stops."""
    bus = events.Bus()
    parts = Subscriptions(bus)
    told: list[None] = []
    parts.changed = lambda: told.append(None)

    def change(queue: str, state: str) -> None:
        bus.emit(events.ConsumerChanged(at=0.0, queue=queue, state=state))

    assert list(parts()) == []
    change("a", "consuming")
    change("b", "waiting")
    assert [one.state for one in parts()] == ["consuming", "waiting"]
    change("b", "consuming")
    bus.emit(events.WorkerStopping(at=0.0, worker="w", grace=1.0))
    assert [one.state for one in parts()] == ["stopping", "stopping"]
    assert len(told) == 4

"""Thousands of mutated property and header frames: no connection ends, and nothing is lost.

The seeds are fixed: a failure comes again. ``RABBITJOBS_TEST_FUZZ=20`` tries twenty seeds.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
from collections import Counter
from pathlib import Path
from typing import Any

import pika
import pytest
from pika import frame

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.message.codec import decode, encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.testing.talk import publish_raw
from rabbitjobs.testing.wire.kit import Ends, consume
from rabbitjobs.testing.wire.raw import POISON, raw_header, table
from rabbitjobs.testing.wire.scripted import ScriptedBroker, delivered
from rabbitjobs.wire.frames import basic_properties
from rabbitjobs.wire.guard import inspect
from tests.broker.crew import crew
from tests.faults.process import until
from tests.pitfalls.shop import MakeWire

BODY = b'{"args": [1], "kwargs": {}}'
SEEDS = range(int(os.environ.get("RABBITJOBS_TEST_FUZZ", "1")))
LIVE = 2500
SCRIPTED = 4000
SHOP = """
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("echo", queue="work")
async def echo(number: int) -> int:
    return number
"""
TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {work: {concurrency: 50}}\n"


def healthy(job_id: str) -> bytes:
    """The header of a job of ours, as it is published; of every property something."""
    envelope = Envelope(id=job_id, job="echo", queue="work", enqueued=1.0, body=BODY)
    properties: Any = basic_properties(encode(envelope))
    properties.headers |= {"deep": {"list": [1, "x", None, {"k": True}]}, "big": 2**40}
    payload: bytes = frame.Header(1, len(BODY), properties).marshal()[7:-1]
    return payload


def mutated(dice: random.Random, job_id: str) -> bytes:
    """A header with some of its bytes changed, cut, doubled, or a poison put in their place.

    The class, the weight and the size of the body stay: with those the broker itself refuses.
    """
    if dice.random() < 0.1:
        return raw_header(len(BODY), *dice.choice(list(POISON.values())))
    payload = bytearray(healthy(job_id))
    for _ in range(dice.choice((1, 1, 2, 5))):
        at = dice.randrange(12, len(payload))
        what = dice.random()
        if what < 0.6:
            payload[at] = dice.randrange(256)
        elif what < 0.75:
            del payload[at : at + dice.randrange(1, 9)]
        elif what < 0.9:
            payload[at:at] = dice.randbytes(dice.randrange(1, 9))
        else:
            payload[at:at] = payload[at : at + dice.randrange(1, 20)]
        payload = payload if len(payload) > 14 else bytearray(healthy(job_id))
    return bytes(payload)


def strange(dice: random.Random, job_id: str) -> bytes:
    """A header that is whole for the broker, and whose every field may be nonsense for a client."""
    if dice.random() < 0.1:
        return raw_header(len(BODY), *dice.choice(list(POISON.values())))
    flags, fields = 0x2000 | 0x1000 | 0x0080 | 0x0020, b""
    if dice.random() < 0.5:
        flags |= 0x8000
        fields += text(dice, b"application/json")
    fields += some_fields(dice, 3)
    fields += b"\x02"
    if dice.random() < 0.3:
        flags |= 0x0400
        fields += text(dice, b"correlation")
    fields += text(dice, job_id.encode())
    if dice.random() < 0.3:
        flags |= 0x0040
        fields += number(dice)
    return raw_header(len(BODY), flags, fields + text(dice, b"echo"))


def text(dice: random.Random, usual: bytes) -> bytes:
    chosen = usual if dice.random() < 0.8 else dice.randbytes(dice.randrange(256))
    return bytes([len(chosen)]) + chosen


def number(dice: random.Random) -> bytes:
    return (dice.getrandbits(64) >> dice.choice((0, 1, 2, 20, 32))).to_bytes(8, "big")


def some_fields(dice: random.Random, depth: int) -> bytes:
    """A table, in the order of its names: RabbitMQ sorts them, and the bytes would differ."""
    names = {text(dice, b"key-%d" % dice.randrange(1000)) for _ in range(dice.randrange(5))}
    return table(b"".join(name + value(dice, depth) for name in sorted(names, key=lambda n: n[1:])))


def value(dice: random.Random, depth: int) -> bytes:
    kind = dice.choice(b"tbBsuIilfdDTSxVAF" if depth else b"tbBsuIilfdDTSxV")
    data = dice.randbytes(_SIZES.get(chr(kind), 0))
    if kind in b"Sx":
        data = b"".join((len(data := dice.randbytes(dice.randrange(50))).to_bytes(4, "big"), data))
    elif kind == ord("T"):
        data = number(dice)
    elif kind in b"fd":  # not a number is no number for Erlang: the broker would hang up
        data = struct.pack(f">{chr(kind)}", dice.uniform(-1e9, 1e9))
    elif kind == ord("A"):
        data = table(b"".join(value(dice, depth - 1) for _ in range(dice.randrange(4))))
    elif kind == ord("F"):
        data = some_fields(dice, depth - 1)
    elif kind == ord("t"):
        data = bytes([dice.randrange(2)])
    return bytes([kind]) + data


_SIZES = {"b": 1, "B": 1, "s": 2, "u": 2, "I": 4, "i": 4, "l": 8, "D": 5}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_pitfall_04_thousands_of_mutated_headers_leave_a_live_worker_standing(
    node: Node, tmp_path: Path, seed: int
) -> None:
    """Whatever the broker lets through: what is bad stands in quarantine with its bytes, what is
    good is done, and the worker's connection has never ended."""
    dice = random.Random(20261121 + seed)
    with crew(node, tmp_path, SHOP, TOPOLOGY) as found:
        url = found.url
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        channel.exchange_declare("raw", "fanout", durable=True)
        channel.queue_bind("shop.q.work", "raw", "")
        worker = found.consume("work")
        worker.says("healthy: consuming")
        sent = [strange(dice, f"strange {turn}") for turn in range(LIVE)]
        address = parse_urls(url)[0]
        for start in range(0, LIVE, 250):
            good = [healthy(f"good {turn}") for turn in range(start, start + 10)]
            headers = [*sent[start : start + 250], *good]
            publish_raw(address, "raw", b"work", [(header, BODY) for header in headers])
        bad = Counter(header for header in sent if inspect(2, header) is not None)
        assert len(bad) > LIVE // 10
        until(
            lambda: not found.total("q.work"),
            "every message to be handled",
            patience=150,
            why=lambda: worker.log[-3000:],
        )
        ids = [f"good {start + turn}" for start in range(0, LIVE, 250) for turn in range(10)]
        assert [found.app.handle(one).result(20) for one in ids] == [1] * len(ids)
        kept = Counter(quarantined(channel))
        assert not bad - kept, "what cannot be decoded stands in quarantine with its bytes"
        assert worker.process.poll() is None
        assert worker.log.count("healthy: consuming") == 1
        connection.close()


def quarantined(channel: Any) -> list[bytes]:
    """The raw headers in quarantine."""
    found: list[bytes] = []
    while True:
        method, properties, body = channel.basic_get("shop.quarantine", auto_ack=True)
        if method is None:
            return found
        assert body == BODY
        found.append(bytes((properties.headers or {}).get("x-rj-raw", b"")))


@pytest.mark.parametrize("seed", SEEDS)
async def test_pitfall_04_no_frame_at_all_ends_a_connection(make_wire: MakeWire, seed: int) -> None:
    """Straight from a scripted broker, with nobody to refuse anything: each message arrives, and
    what was damaged carries the bytes that came."""
    dice = random.Random(4 + seed)
    makers = (mutated, strange)
    headers = [makers[turn % 2](dice, str(turn)) for turn in range(SCRIPTED)]
    headers += [healthy("last")]

    def deliveries(channel: int, consumer: str) -> bytes:
        return b"".join(
            delivered(channel, consumer, tag, header, BODY) for tag, header in enumerate(headers, 1)
        )

    async with ScriptedBroker(deliveries=deliveries).running() as address:
        wire = make_wire()
        ends = Ends(wire)
        async with asyncio.timeout(100):
            await wire.open(address, name="fuzz")
            _, inbox = await consume(wire, "q", prefetch=SCRIPTED + 1)
            got = [await inbox.next() for _ in headers]
        assert ends.closed == []
        await wire.close()
    assert [each.body for each in got] == [BODY] * len(headers)
    damaged = 0
    for header, each in zip(headers, got, strict=True):
        assert (inspect(2, header) is not None) == (each.damage is not None)
        if each.damage is not None:
            damaged += 1
            assert each.raw == header
    assert damaged > SCRIPTED // 4
    assert decode(got[-1].properties, got[-1].body, queue="work").id == "last"

"""Messages by somebody who may write to the exchange and means harm.

The worker lives; no code but a registered job's runs; what was sent is kept for people to see.
"""

from __future__ import annotations

import gzip
import os
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pika import frame

from rabbitjobs import events
from rabbitjobs.backend.protocol import Status
from rabbitjobs.errors import JobFailed, SendRefused, TooLarge
from rabbitjobs.message import headers as h
from rabbitjobs.message.properties import Properties
from rabbitjobs.publisher.prepare import MAX_BODY_BYTES
from rabbitjobs.wire import frames
from tests.security.shop import Shop


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


async def survives(shop: Shop) -> None:
    """The worker still runs what is sent as it should be."""
    await shop.put(shop.envelope("after", "after"))
    await shop.reaches(Status.SUCCEEDED, "after")
    assert shop.ran == {"after": 1}


async def test_pickle_by_its_content_type_is_refused_unread(plain: Shop, tmp_path: Path) -> None:
    """Even where its body is JSON: what a message says it is, it is taken for."""
    await plain.work()
    bodies = [pickle.dumps(Trap(tmp_path / "sprung")), b'{"args":["x"],"kwargs":{}}']
    kinds = ["application/x-python-serialize", "application/x-pickle", "x/pickle", "APPLICATION/X"]
    for kind in kinds:
        for body in bodies:
            properties = Properties(type="mark", message_id=kind, content_type=kind)
            await plain.raw(properties, body)
    found = await plain.standing("quarantine", 8)
    assert sorted(one.body for one in found) == sorted(bodies * 4)
    assert "expected the content type application/json" in found[0].properties.headers[h.RULE]
    await survives(plain)
    assert not (tmp_path / "sprung").exists()


async def test_pickle_in_the_body_of_a_json_job_is_only_wrong_json(
    plain: Shop, tmp_path: Path
) -> None:
    """A person sees it on the desk."""
    bodies = [pickle.dumps({"args": [Trap(tmp_path / "sprung")]}, protocol) for protocol in (0, 5)]
    await plain.work()
    for place, body in enumerate(bodies):
        await plain.raw(Properties(type="mark", message_id=f"m{place}"), body)
    found = await plain.standing("review", 2)
    assert {one.body for one in found} == {*bodies}  # they ended beside each other
    await survives(plain)
    assert not (tmp_path / "sprung").exists()


async def test_unknown_job_names_dotted_paths_and_os_system_are_looked_up_and_never_imported(
    plain: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that lies ready on the path is not touched."""
    (tmp_path / "trapmodule.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    called: list[Any] = []
    monkeypatch.setattr(os, "system", called.append)
    evil = [
        "os.system",
        "trapmodule.run",
        "trapmodule:run",
        "tests.security.shop.Shop.stop",
        "Shop._mark",
        "mark.__call__",
        "__import__('trapmodule')",
        "builtins.eval",
        "../../mark",
        "MARK",
        "mark ",
    ]
    await plain.work()
    for name in evil:
        # Workers of the next release have had their three chances to know it.
        properties = Properties(type=name, message_id=name, headers={h.UNKNOWN: 3})
        await plain.raw(properties, b'{"args":["true"]}')
    found = await plain.standing("quarantine", len(evil))
    assert {one.properties.type for one in found} == set(evil)
    await survives(plain)
    assert called == []
    assert "trapmodule" not in sys.modules


JSON_ABUSE = {
    "nested 100,000 deep": b'{"args":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    "nested in kwargs": b'{"kwargs":{"name":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}}",
    "nested where nobody looks": b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "an integer of 5000 digits": b'{"args":[' + b"9" * 5000 + b"]}",
    "NaN": b'{"args":[NaN]}',
    "Infinity": b'{"args":[-Infinity]}',
    "1e999": b'{"args":[1e999]}',
    "duplicate keys": b'{"args":["a"],"args":["b"]}',
    "duplicate keys, escaped": b'{"args":["a"],"\\u0061rgs":["b"],"kwargs":{}}',
    "duplicate keyword": b'{"args":[],"kwargs":{"name":"a","name":"b"}}',
    "lone surrogate": b'{"args":["\\ud800"]}',
    "lone surrogate as bytes": b'{"args":["\xed\xa0\x80"]}',
    "NUL": b'{"args":["\x00"]}',
    "UTF-16": '{"args":["a"]}'.encode("utf-16"),
    "UTF-32": '{"args":["a"]}'.encode("utf-32"),
    "byte order mark": b'\xef\xbb\xbf{"args":["a"]}',
    "Latin-1": '{"args":["é"]}'.encode("latin-1"),
    "cut off": b'{"args":["a',
    "two documents": b'{"args":["a"]}{"args":["a"]}',
    "a comment": b'{"args":["a"]/* */}',
    "nothing": b"",
    "another shape": b'["a"]',
    "a number for a text": b'{"args":[1]}',
}


async def test_json_abuse_ends_on_the_desk_and_never_in_a_crash(plain: Shop) -> None:
    """Each with its bytes; the last job behind them runs."""
    await plain.work()
    for name, body in JSON_ABUSE.items():
        await plain.raw(Properties(type="mark", message_id=name), body)
    found = await plain.standing("review", len(JSON_ABUSE))
    assert {one.properties.headers[h.ID]: one.body for one in found} == JSON_ABUSE
    await survives(plain)


async def test_a_zip_bomb_is_not_decompressed(plain: Shop) -> None:
    """194 kB that grow to 200 MB take the room of 194 kB."""
    bomb = gzip.compress(b"\0" * 200_000_000)
    await plain.work()
    tracemalloc.start()
    try:
        for encoding in ("gzip", "deflate", "br", "zstd", "GZIP"):
            properties = Properties(type="mark", message_id=encoding, content_encoding=encoding)
            await plain.raw(properties, bomb)
        found = await plain.standing("quarantine", 5)
        # And one that does not say what it is: its first bytes are no JSON.
        await plain.raw(Properties(type="mark", message_id="bomb"), bomb)
        await plain.standing("review", 1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {one.body for one in found} == {bomb}
    assert peak < 30_000_000
    await survives(plain)


async def test_an_oversize_body_is_refused_before_it_is_sent_with_the_limit_in_the_text(
    plain: Shop,
) -> None:
    """The broker, which would close the channel on it, never sees it."""
    with pytest.raises(TooLarge, match=f"at most {MAX_BODY_BYTES} bytes"):
        await plain.mark.asend("x" * MAX_BODY_BYTES)
    await plain.work()
    await survives(plain)


async def test_a_spoofed_user_id_is_refused_by_the_broker_and_shown_as_an_error(
    plain: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of ours sets one; a publisher that does hears 406, and the next send goes through."""

    def spoofed(channel: int, size: int, ours: Properties) -> bytes:
        made: Any = frames.basic_properties(ours)
        made.user_id = "admin"
        whole: bytes = frame.Header(channel, size, made).marshal()
        return whole[:-1]

    with monkeypatch.context() as patch:
        patch.setattr(frames, "_header", spoofed)
        with pytest.raises(SendRefused, match="user_id property set to 'admin'") as refused:
            await plain.mark.asend("spoofed")
    assert refused.value.job == "mark"
    await plain.work()
    await survives(plain)


async def test_the_exception_type_in_a_result_is_plain_data(
    plain: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads the result gets its name; the module that it names is not imported."""
    (tmp_path / "trapmodule.py").write_text("class Boom(Exception): ...\nraise SystemExit\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    evil = type("Boom", (Exception,), {"__module__": "trapmodule"})
    await plain.take_in()
    await plain.work()
    plain.failing["boom"] = evil("bang")
    await plain.put(plain.envelope("boom", "boom", attempt=3))
    await plain.until(lambda: plain.heard(events.CaseTaken))
    page = plain.app.desk.list()
    plain.app.desk.discard(
        page.cases[0].id, "enough", who="ada", version=plain.app.desk.get(page.cases[0].id).version
    )
    with pytest.raises(JobFailed) as failed:
        await plain.app.handle("boom").aresult(10)
    assert type(failed.value) is JobFailed
    assert failed.value.error_type == "trapmodule.Boom"
    assert "trapmodule" not in sys.modules

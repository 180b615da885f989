"""Tampered, forged and copied jobs where signing is on, and the ways on which a signature holds."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from rabbitjobs import events
from rabbitjobs.backend.protocol import Status
from rabbitjobs.clock import now
from rabbitjobs.errors import ActionRefused
from rabbitjobs.message import headers as h
from rabbitjobs.message.codec import encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.message.signing import Signing, SigningOptions
from rabbitjobs.policy import decide
from rabbitjobs.policy.decision import Failure
from rabbitjobs.secret import Secret
from rabbitjobs.topology import names
from tests.security.shop import PATIENCE, Shop

LATER = 4_000_000_000.0


def forgeries(shop: Shop) -> dict[str, Envelope]:
    """What somebody without a key makes of a job that he has seen."""

    def seen(job_id: str) -> Envelope:
        return shop.envelope(job_id, "forged", expires=LATER)

    change = msgspec.structs.replace
    other_key = Signing(SigningOptions({"k9": Secret("9" * 40)}, "k9"), namespace="shop")
    stolen_id = Signing(SigningOptions({"k2": Secret("9" * 40)}, "k2"), namespace="shop")
    other_app = Signing(SigningOptions({"k2": Secret("2" * 40)}, "k2"), namespace="blog")
    return {
        "body": change(seen("body"), body=b'{"args":["forged!"],"kwargs":{}}'),
        "job": change(seen("job"), job="os.system"),
        "queue": change(seen("queue"), queue="images"),
        "expiry": change(seen("expiry"), expires=LATER + 1),
        "no expiry": change(seen("no expiry"), expires=None),
        "id": change(seen("x"), id="id"),
        "attempt": change(seen("attempt"), attempt=2),
        "encoding": change(seen("encoding"), content_encoding="utf-8"),
        "unsigned": change(seen("unsigned"), signature=None),
        "no signature": change(seen("no signature"), signature="k2:"),
        "unknown key id": other_key.sign(seen("unknown key id")),
        "key of his own": stolen_id.sign(seen("key of his own")),
        "another app's": other_app.sign(seen("another app's")),
    }


async def test_tampered_body_job_queue_expiry_and_unknown_key_id_end_in_quarantine(
    signed: Shop,
) -> None:
    """Before anything of them runs, with reason and bytes, an event, and nothing on record."""
    forged = forgeries(signed)
    for envelope in forged.values():
        await signed.put(envelope)
    await signed.put(signed.envelope("good", "good"))
    await signed.work("emails")
    await signed.work("images")
    await signed.reaches(Status.SUCCEEDED, "good")
    found = {
        one.properties.headers[h.ID]: one
        for one in await signed.standing("quarantine", len(forged))
    }
    assert set(found) == set(forged)
    for job_id, delivery in found.items():
        headers = delivery.properties.headers
        assert headers[h.REASON] == "signature"
        assert delivery.body == forged[job_id].body
        assert headers.get(h.SIGNATURE) == forged[job_id].signature
        assert await signed.app.handle(job_id).astatus() is Status.UNKNOWN
    assert "expected a signature in x-rj-signature, got none" in str(found["unsigned"].properties)
    assert "got 'k9'" in found["unknown key id"].properties.headers[h.RULE]
    # The event comes after the message that it is about.
    await signed.until(lambda: len(signed.heard(events.DeliveryRefused)) == len(forged))
    refused = signed.heard(events.DeliveryRefused)
    assert {event.job_id for event in refused} == set(forged)
    assert all(event.reason for event in refused)
    assert signed.ran == {"good": 1}


async def test_a_refused_job_is_never_put_back_and_one_by_a_missing_key_is(signed: Shop) -> None:
    """A key that was forgotten on a worker costs a command, not the jobs."""
    options = signed.app.settings.signing
    assert options is not None
    more = replace(options, keys={**options.keys, "k3": Secret("3" * 40)})
    new_key = Signing(replace(more, sign_with="k3"), namespace="shop")
    await signed.put(new_key.sign(signed.envelope("ours", "ours")))
    await signed.put(msgspec.structs.replace(signed.envelope("forged", "forged"), job="other"))
    await signed.work()
    await signed.standing("quarantine", 2)
    none = await signed.put_back("quarantine")
    assert (none.sent, none.unreadable) == (0, 2)
    await signed.stop()
    signed.app.__dict__["settings"] = replace(signed.app.settings, signing=more)
    done = await signed.put_back("quarantine")
    assert (done.sent, done.unreadable) == (1, 1)
    await signed.work()
    await signed.reaches(Status.SUCCEEDED, "ours")
    (left,) = await signed.standing("quarantine", 1)
    assert left.properties.headers[h.ID] == "forged"
    assert signed.ran == {"ours": 1}


async def test_replay_of_a_signed_message_is_dropped_by_job_id_and_ends_by_expiry(
    signed: Shop,
) -> None:
    """An exact copy, one that hides that it is one, one under the next attempt, a late one."""
    await signed.work()
    original = signed.envelope("once", "once", enqueued=now())
    await signed.put(original)
    await signed.reaches(Status.SUCCEEDED, "once")
    for again in (False, True):
        await signed.put(msgspec.structs.replace(original, again=again, enqueued=now()))
    await signed.put(msgspec.structs.replace(original, attempt=2))
    await signed.until(lambda: len(signed.heard(events.DuplicateDropped)) == 2)
    await signed.until(lambda: len(signed.heard(events.DeliveryRefused)) == 1)
    await signed.put(signed.envelope("late", "late", expires=now() - 1))
    await signed.reaches(Status.EXPIRED, "late")
    assert signed.ran == {"once": 1}


async def test_a_signature_holds_on_every_way_that_a_job_takes(
    signed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another queue, a delay, retries, a job that only the next worker knows."""
    monkeypatch.setattr(decide, "UNKNOWN_JOB_DELAYS", (1.0, 1.0, 1.0))
    signed.failing["retried"] = ValueError("not yet")
    in_hour = timedelta(hours=1)
    later = signed.app.remote("later", queue="emails")
    sent = [
        await signed.mark.options(queue="images").asend("elsewhere"),
        await signed.mark.options(delay=timedelta(seconds=1), expires=in_hour).asend("delayed"),
        await signed.mark.options(expires=in_hour, unique="u").asend("retried"),
        await later.asend("later"),
    ]
    await signed.work("emails")
    await signed.work("images")
    await signed.until(lambda: any(e.job == "later" for e in signed.heard(events.JobPassedOn)))
    signed.app.job("later", queue="emails")(signed._mark)
    await signed.reaches(Status.SUCCEEDED, *(handle.id for handle in sent))
    assert signed.ran == {"elsewhere": 1, "delayed": 1, "retried": 2, "later": 1}
    assert not signed.heard(events.DeliveryRefused)


async def test_a_job_put_back_to_another_queue_is_signed_for_it(
    signed: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its next attempt, which is signed too."""
    monkeypatch.setattr(decide, "UNKNOWN_JOB_DELAYS", ())
    await signed.work()
    await signed.put(signed.envelope("lost", "lost", job="later"))
    await signed.standing("quarantine", 1)
    signed.app.job("later", queue="images")(signed._mark)
    assert (await signed.put_back("quarantine", to="images")).sent == 1
    await signed.work("images")
    await signed.reaches(Status.SUCCEEDED, "lost")


async def test_what_the_desk_releases_or_edits_is_signed_anew(signed: Shop) -> None:
    """Without its expiry, as its next attempt, with another body, for another queue."""
    await signed.take_in()
    await signed.work("emails")
    await signed.work("images")
    sent = {}
    for name in ("same", "moved", "edited"):
        signed.failing[name] = ValueError("never")
        await signed.put(signed.envelope(name, name, expires=now() + 60, attempt=3))
    for name in ("same", "moved", "edited"):
        await signed.reaches(Status.IN_REVIEW, name)
        sent[name] = await on_desk(signed, name)
    await act(signed, "retry", sent["same"])
    await act(signed, "retry", sent["moved"], queue="images")
    await act(signed, "edit", sent["edited"], body=b'{"args":["by hand"],"kwargs":{}}')
    await signed.reaches(Status.SUCCEEDED, "same", "moved", "edited")
    assert signed.ran == {"same": 2, "moved": 2, "edited": 1, "by hand": 1}
    assert not signed.heard(events.DeliveryRefused)


async def test_the_desk_releases_no_job_that_nobody_signed(signed: Shop) -> None:
    """One that crashed its way past the worker; a person who has read it may edit it."""
    await signed.take_in()
    await signed.work()
    forged = msgspec.structs.replace(signed.envelope("forged", "forged"), signature=None)
    properties = encode(forged)
    failure = Failure(kind="error", error_type="E", error="e")
    properties.headers[h.FAILURE] = msgspec.json.encode(failure).decode()
    key = names.review_queue("shop").removeprefix("shop.")
    await signed.raw(properties, forged.body, queue=key, exchange="fail")
    await signed.until(lambda: signed.heard(events.CaseTaken))
    case = await on_desk(signed, "forged")
    with pytest.raises(ActionRefused, match="got none; put the key back"):
        await act(signed, "retry", case)
    await act(signed, "edit", case, body=b'{"args":["read"],"kwargs":{}}')
    await signed.reaches(Status.SUCCEEDED, "forged")
    assert signed.ran == {"read": 1}


async def test_a_copy_that_bears_the_marks_of_somebodys_case_does_not_run(signed: Shop) -> None:
    """Its end would have closed the released case, its failure gone into it; so with a webhook."""
    await signed.take_in()
    await signed.work()
    signed.failing["theirs"] = ValueError("never")
    await signed.put(signed.envelope("theirs", "theirs", attempt=3))
    await signed.reaches(Status.IN_REVIEW, "theirs")
    case = await on_desk(signed, "theirs")
    changes = (
        {"case": case.id, "release": "r"},
        {"on_done": "https://eve.example"},
        {"unique": "u"},
    )
    for number, change in enumerate(changes):
        copy = signed.envelope(f"copy-{number}", "copy")
        await signed.put(msgspec.structs.replace(copy, **change))
    await signed.standing("quarantine", len(changes))
    assert signed.ran == {"theirs": 1}
    left = await on_desk(signed, "theirs")
    assert (left.state, left.version) == (case.state, case.version)


async def on_desk(shop: Shop, job_id: str) -> Any:
    """The open case of a job."""
    async with asyncio.timeout(PATIENCE):
        while True:
            page = await asyncio.to_thread(shop.app.desk.list)
            for line in page.cases:
                case = await asyncio.to_thread(shop.app.desk.get, line.id)
                if case.job_id == job_id:
                    return case
            await asyncio.sleep(0.02)


async def act(shop: Shop, action: str, case: Any, **more: Any) -> None:
    """Do something at the desk."""
    await asyncio.to_thread(
        getattr(shop.app.desk, action), case.id, who="ada", version=case.version, **more
    )


async def test_a_message_of_another_client_is_refused_unsigned_and_run_signed(
    signed: Shop,
) -> None:
    """By the documented form, without any header of ours but the signature."""
    await signed.work()
    body = b'{"args": ["from afar"]}'
    await signed.raw(Properties(type="mark", message_id="far"), body)
    await signed.standing("quarantine", 1)
    assert signed.app.parts.signing is not None
    as_read = Envelope(id="far", job="mark", queue="emails", body=body)
    signature = signed.app.parts.signing.sign(as_read).signature
    await signed.raw(
        Properties(type="mark", message_id="far", headers={h.SIGNATURE: signature}), body
    )
    await signed.reaches(Status.SUCCEEDED, "far")
    assert signed.ran == {"from afar": 1}

"""Signatures: one form for each job, keys that come and go, and what a change of a field does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.errors import SignatureRefused
from rabbitjobs.message.codec import decode, encode
from rabbitjobs.message.envelope import AttemptRecord, Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.message.signing import Signing, SigningOptions, canonical
from rabbitjobs.secret import Secret

OLD, NEW = "o" * 32, "n" * 32
JOB = Envelope(
    id="i", job="j", queue="q", body=b'{"args":[1]}', expires=1_700_000_000.25, enqueued=5.0
)
SIGNED_TEXTS = (
    *("correlation_id", "reply_to", "app_id", "on_done"),
    *("unique", "release", "case", "tag"),
)
SIGNED_FIELDS = ("id", "job", "queue", "body", "content_type", "attempt", "expires", *SIGNED_TEXTS)


def signing(sign_with: str = "old", namespace: str = "shop", **more: Any) -> Signing:
    """With the keys old and new."""
    keys = {"old": Secret(OLD), "new": Secret(NEW)}
    return Signing(SigningOptions(keys, sign_with, **more), namespace=namespace)


def travelled(envelope: Envelope) -> Envelope:
    """As a worker reads it."""
    return decode(encode(envelope, "m"), envelope.body, queue=envelope.queue)


def test_a_signed_job_is_what_it_says_after_the_way_through_the_broker() -> None:
    """Expiry in milliseconds, and the missing content type, are what the header says."""
    signing().check(travelled(signing().sign(JOB)))
    signing().check(travelled(signing().sign(msgspec.structs.replace(JOB, expires=1.23456789))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "i2"),
        ("job", "j2"),
        ("queue", "q2"),
        ("body", b'{"args":[2]}'),
        ("content_type", "application/json; x"),
        ("content_encoding", "utf-8"),
        ("attempt", 2),
        ("expires", None),
        ("expires", 1_700_000_000.251),
        *((name, "theirs") for name in SIGNED_TEXTS),
    ],
)
def test_what_is_covered_cannot_be_changed(field: str, value: Any) -> None:
    """One field at a time."""
    whole = msgspec.structs.replace(JOB, **dict.fromkeys(SIGNED_TEXTS, "ours"))
    signing().check(travelled(signing().sign(whole)))
    changed = msgspec.structs.replace(signing().sign(whole), **{field: value})
    with pytest.raises(SignatureRefused, match="expected the signature of this job by the key old"):
        signing().check(changed)


def test_what_is_made_on_the_way_may_change() -> None:
    """History, due, times, priority, how often it was passed on."""
    record = AttemptRecord(attempt=1, started=1.0, seconds=2.0, error_type="E", error="e")
    changed = msgspec.structs.replace(
        signing().sign(JOB),
        due=9.0, enqueued=7.0, history=(record,), priority=3, trace="t", again=True, unknown=2,
        waits=3,
    )  # fmt: skip
    signing().check(travelled(changed))


def test_every_field_of_an_envelope_is_signed_or_may_change() -> None:
    """Whoever adds one has to decide."""
    free = {"due", "enqueued", "history", "priority", "trace", "again", "unknown", "waits"}
    free.add("signature")
    signed = {*SIGNED_FIELDS, "content_encoding"}
    assert signed | free == set(Envelope.__struct_fields__) and not signed & free


def test_the_signature_of_another_namespace_or_key_does_not_hold() -> None:
    """Two apps may share a key and still not take each other's jobs; a key id is no free choice."""
    signed = signing().sign(JOB)
    with pytest.raises(SignatureRefused):
        signing(namespace="other").check(signed)
    assert signed.signature is not None
    renamed = msgspec.structs.replace(signed, signature=signed.signature.replace("old:", "new:"))
    with pytest.raises(SignatureRefused, match="by the key new, got another"):
        signing().check(renamed)


@pytest.mark.parametrize("signature", ["k9:00", "", ":", "old", "old:", "old:ü\ud800", "x" * 4000])
def test_any_text_in_place_of_a_signature_is_refused(signature: str) -> None:
    """Without an error of another kind, and without repeating all of it."""
    with pytest.raises(SignatureRefused) as refused:
        signing().check(msgspec.structs.replace(JOB, signature=signature))
    assert len(refused.value.text) < 300


def test_every_listed_key_verifies_and_one_signs() -> None:
    """So a key is replaced without a moment at which a job is refused."""
    both, only_new = (
        signing("new"),
        Signing(SigningOptions({"new": Secret(NEW)}, "new"), namespace="shop"),
    )
    by_old = signing("old").sign(JOB)
    both.check(by_old)
    renewed = both.renew(by_old)
    assert renewed.signature is not None and renewed.signature.startswith("new:")
    only_new.check(renewed)
    with pytest.raises(SignatureRefused, match="one of the keys new, got 'old'"):
        only_new.check(by_old)


def test_what_is_not_signed_is_refused_unless_signing_is_being_turned_on() -> None:
    """And goes on unsigned then: nobody else's job becomes ours on the way."""
    with pytest.raises(SignatureRefused, match="got none"):
        signing().check(JOB)
    lenient = signing(require=False)
    lenient.check(JOB)
    assert lenient.renew(JOB) == JOB
    with pytest.raises(SignatureRefused):
        lenient.check(msgspec.structs.replace(JOB, signature="old:00"))


TEXT = st.text("ab:,01 ", max_size=6)
JOBS = st.builds(
    Envelope,
    id=TEXT, job=TEXT, queue=TEXT, content_type=TEXT, body=st.binary(max_size=6),
    attempt=st.integers(1, 30), expires=st.none() | st.integers(0, 30).map(float),
    **dict.fromkeys(SIGNED_TEXTS, TEXT),
)  # fmt: skip


@given(JOBS, JOBS)
def test_two_jobs_have_one_form_only_if_they_are_the_same(one: Envelope, other: Envelope) -> None:
    """Whatever digits, colons and commas their fields hold."""
    same = all(getattr(one, name) == getattr(other, name) for name in SIGNED_FIELDS)
    first, second = (canonical(each, namespace="n", key_id="k") for each in (one, other))
    assert (first == second) == same


def test_a_stranger_signs_the_smallest_message() -> None:
    """Job id from the message id, first attempt, JSON, no expiry."""
    body = b"{}"
    as_read = Envelope(id="m1", job="greet", queue="emails", body=body)
    signature = signing().sign(as_read).signature
    properties = Properties(type="greet", message_id="m1", headers={"x-rj-signature": signature})
    signing().check(decode(properties, body, queue="emails"))


def test_keys_do_not_show_themselves() -> None:
    """Neither in the options nor in an error."""
    assert OLD not in repr(SigningOptions({"old": Secret(OLD)}, "old"))

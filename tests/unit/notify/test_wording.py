"""What a notification says."""

from __future__ import annotations

import json
from collections.abc import Callable

from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.notify.wording import completion, digest, one_line, single


def test_one_failure_names_job_queue_id_error_and_what_follows(
    make_note: Callable[..., Note],
) -> None:
    """A person can act on the message without a log at hand."""
    message = single(make_note(7), "shop")
    assert message.subject == "[shop] emails.send failed: TimeoutError"
    for part in ("emails.send", "emails", "id-7", "no answer to 7", "then:    review"):
        assert part in message.text
    assert message.id == "id-7:1"


def test_a_job_name_with_line_breaks_and_escapes_stays_on_one_line(
    make_note: Callable[..., Note],
) -> None:
    """Header injection and terminal escapes end as spaces, lone surrogates too."""
    note = make_note(job="evil\r\nBcc: all@example.org\x1b[2J\u2028\ud800", error="a\nb: c")
    message = single(note, "shop")
    assert message.subject == "[shop] evil Bcc: all@example.org [2J  failed: TimeoutError"
    assert len(message.text.splitlines()) == 9
    json.dumps(message.data).encode("ascii")


def test_a_digest_counts_by_job_and_error_and_shows_the_most_frequent_first(
    make_note: Callable[..., Note],
) -> None:
    """Ten thousand failures fit in a mail."""
    notes = [make_note(n) for n in range(9_000)]
    notes += [make_note(n, job="img", error_type="ValueError") for n in range(9_000, 9_990)]
    message = digest(notes, "shop")
    assert message.subject == (
        "[shop] 9,990 more failures: emails.send TimeoutError x9,000, img ValueError x990"
    )
    assert "first: no answer to 0" in message.text
    assert message.data["count"] == 9_990
    assert [g["count"] for g in message.data["groups"]] == [9_000, 990]
    assert len(message.text) < 2_000


def test_a_digest_of_a_thousand_kinds_stays_short(make_note: Callable[..., Note]) -> None:
    """Twenty kinds are shown, the rest is counted."""
    message = digest([make_note(n, job=f"job-{n:04}") for n in range(1_000)], "shop")
    assert "980 x 980 other kinds" in message.text
    assert "and 997 more kinds" in message.subject
    assert len(message.data["groups"]) == 100


def test_the_same_failures_make_the_same_digest_id(make_note: Callable[..., Note]) -> None:
    """A digest that is sent twice can be dropped by its id, whatever the order of its notes."""
    notes = [make_note(n) for n in range(5)]
    assert digest(notes, "a").id == digest(notes[::-1], "b").id
    assert digest(notes, "a").id != digest(notes[:4], "a").id


def test_a_completion_carries_no_result_and_no_url() -> None:
    """The body names the job and its state, nothing that the receiver need not know."""
    note = Completion(
        job_id="i", job="j", queue="q", status="failed", url="https://x.example/?secret", ended=5.0
    )
    assert completion(note) == {
        "type": "job.done",
        "job_id": "i",
        "job": "j",
        "queue": "q",
        "status": "failed",
        "error_type": None,
        "error": None,
        "ended": 5.0,
    }


def test_a_long_text_is_cut() -> None:
    """An error of a megabyte does not make a mail of a megabyte."""
    assert one_line("x" * 1_000_000).endswith("…")
    assert len(one_line("x" * 1_000_000)) == 500

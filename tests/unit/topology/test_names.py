"""Names on the broker: never two meanings, never longer than AMQP allows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.errors import ConfigError
from rabbitjobs.topology import names

_DELAYS = st.timedeltas(timedelta(milliseconds=1), names.LONGEST)


def test_every_object_has_the_name_that_the_design_gives_it() -> None:
    """The families stand right behind the namespace."""
    assert names.jobs_exchange("shop") == "shop.jobs"
    assert names.work_queue("shop", "emails") == "shop.q.emails"
    assert names.retry_queue("shop", "emails", timedelta(seconds=90)) == "shop.retry.emails.1m30s"
    assert names.delay_exchange("shop") == "shop.delay"
    assert names.delay_level("shop", 5) == "shop.delay.05"
    assert names.deliver_exchange("shop") == "shop.deliver"
    assert names.fail_exchange("shop") == "shop.fail"
    assert names.review_queue("shop") == "shop.review"
    assert names.review_queue("shop", "emails") == "shop.review.emails"
    assert names.notify_queue("shop") == "shop.notify"
    assert names.ignored_queue("shop") == "shop.ignored"
    assert names.quarantine_queue("shop") == "shop.quarantine"
    assert names.undeliverable_queue("shop") == "shop.undeliverable"
    assert names.events_exchange("shop") == "shop.events"
    assert names.control_exchange("shop") == "shop.control"


@given(
    queue=st.text(min_size=1, max_size=80), delay=_DELAYS, namespace=st.text("ab_한", min_size=1)
)
def test_a_queue_that_passes_the_check_fits_everywhere(
    queue: str, delay: timedelta, namespace: str
) -> None:
    """No name made of it is too long, the longest ladder key included."""
    if names.namespace_fault(namespace) or names.queue_fault(namespace, queue):
        return
    for name in (
        names.work_queue(namespace, queue),
        names.retry_queue(namespace, queue, delay),
        names.landing_queue(namespace, queue),
        names.review_queue(namespace, queue),
        names.retry_key(queue, delay),
        names.ladder_key(queue, 2**28 - 1),
        names.fail_key("review", queue),
    ):
        assert len(name.encode()) <= names.MAX_BYTES


@pytest.mark.parametrize(
    ("queue", "fault"),
    [
        ("", "not empty"),
        (" emails", "white space"),
        ("emails\n", "white space"),
        ("e\x00mails", "control characters"),
        ("e\u2028mails", "control characters"),
        ("\udc80", "control characters"),
        ("mail.*", "wildcards"),
        ("mail.#", "wildcards"),
        ("한" * 80, "at most 199 bytes"),
        ("a." * 28 + "a", "at most 28 words"),
        ("\u1112\u1161\u11ab", "NFC"),
    ],
)
def test_queue_names_that_cannot_work_are_refused(queue: str, fault: str) -> None:
    """With what was expected, before anything is sent anywhere."""
    with pytest.raises(ConfigError, match=fault):
        names.check_queue("shop", queue)


@pytest.mark.parametrize("queue", ["주문", "emails.urgent", "a b", "주문.확인", "x..y", "🐇", "é"])
def test_any_other_name_works(queue: str) -> None:
    """Letters of any script, dots, spaces inside."""
    names.check_queue("가게", queue)


@pytest.mark.parametrize("namespace", ["", "amq", "a.b", "x" * 41, "*"])
def test_namespaces_that_would_collide_are_refused(namespace: str) -> None:
    """A dot would let one namespace reach into another."""
    with pytest.raises(ConfigError):
        names.check_namespace(namespace)


@pytest.mark.parametrize("worker", ["host:1", "web-1.shop.example:4711", "w" * 140 + ":1"])
def test_the_queues_of_control_say_whose_they_are(worker: str) -> None:
    """Those of other rooms and namespaces are nobody's."""
    assert names.worker_of("shop", names.control_queue("shop", worker, "0a1b")) == worker
    for other in (
        "shop.control.tail.0a1b",
        "shop.q.control.worker.x.y",
        "other.control.worker.x.y",
    ):
        assert names.worker_of("shop", other) is None

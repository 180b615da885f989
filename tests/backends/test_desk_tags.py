"""What the desk sends is the job that came: cancelled by its tag, and signed with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from rabbitjobs.clock import uuid7
from rabbitjobs.control.cancelling import Canceller
from rabbitjobs.errors import SignatureRefused
from rabbitjobs.message.codec import decode, encode
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.signing import Signing, SigningOptions
from rabbitjobs.review.case import Case
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.secret import Secret
from rabbitjobs.store import cancellations
from rabbitjobs.store.cancellations import OVERLAP
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
OTHER_BODY = b'{"args":["b@example.org"],"kwargs":{}}'
SIGNING = Signing(SigningOptions({"k": Secret("s" * 32)}, sign_with="k"), namespace="shop")


@pytest.fixture
def message(failed: Failed) -> FailedMessage:
    """A job with a tag that was put off three times before it failed."""
    return failed(uuid7(), 3, tag="order 7", waits=3)


@pytest.fixture
def tagged(store: Store, desk: Desk, message: FailedMessage) -> Case:
    """Its case."""
    return desk.get(take_in(store, message))


def sent_on(broker: Broker) -> Envelope:
    """What a worker reads of what was sent."""
    (row,) = broker.sent
    envelope = row.envelope
    return decode(encode(envelope), envelope.body, queue=envelope.queue)


def test_a_retry_keeps_the_tag_and_the_count(desk: Desk, broker: Broker, tagged: Case) -> None:
    """Only the attempt and the release are new."""
    desk.retry(tagged.id, who="ann", version=1)
    assert (sent_on(broker).tag, sent_on(broker).waits, sent_on(broker).attempt) == (
        "order 7",
        3,
        4,
    )


def test_an_edit_keeps_them_too(desk: Desk, broker: Broker, tagged: Case) -> None:
    """It is the same job, in a case of its own."""
    desk.edit(tagged.id, OTHER_BODY, who="ann", version=1)
    assert (sent_on(broker).tag, sent_on(broker).waits) == ("order 7", 3)


def test_a_tag_that_was_cancelled_means_what_is_released_later(
    store: Store, desk: Desk, broker: Broker, tagged: Case
) -> None:
    """The job was sent before; a person who sends it again does not make it a newer one."""
    Canceller(lambda: store, lambda: None).cancel((), tag="order 7", grace=timedelta(0))
    desk.retry(tagged.id, who="ann", version=1)
    (order,) = store.read(lambda one: cancellations.since(one, store.namespace, OVERLAP, 0.0))
    assert order.means(sent_on(broker))


def test_a_release_is_signed_with_its_tag(
    store: Store, broker: Broker, message: FailedMessage
) -> None:
    """Nobody can take the tag away, or the release; the count is the workers' own."""
    assert message.envelope is not None
    signed = SIGNING.sign(message.envelope)
    case_id = take_in(store, msgspec.structs.replace(message, envelope=signed))
    desk = Desk(store, broker, lambda _job, _body: None, signing=SIGNING)
    desk.retry(case_id, who="ann", version=1)
    SIGNING.check(sent_on(broker))
    for change in ({"tag": None}, {"tag": "order 8"}, {"release": "mine"}):
        with pytest.raises(SignatureRefused):
            SIGNING.check(msgspec.structs.replace(sent_on(broker), **change))
    SIGNING.check(sent_on(broker).put_off(due=1.0))

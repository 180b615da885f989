"""The auditor adds up what the store, the broker and the world say, and finds each fault."""

from __future__ import annotations

from dataclasses import replace

import pytest

from examples.shop.audit import World, at_rest, reckon, sent_jobs
from examples.shop.editor import mend
from examples.shop.orders import job_id

ORDERS = [1, 2, 3]
STATES = {
    job_id(1, "order"): "in-review",
    **{job_id(number, "order"): "succeeded" for number in (2, 3)},
    **{job_id(number, kind): "succeeded" for number in (2, 3) for kind in ("invoice", "parcel")},
    **{job_id(number, "note"): "succeeded" for number in ORDERS},
    job_id(2, "mail"): "succeeded",
    job_id(3, "mail"): "ignored",
}
WORLD = World(mails=[2], invoices=[2, 3], parcels=[3, 2], journal=[1, 2, 3], ignored=[3])
HELD = {"shop.q.orders": 0, "shop.ignored": 1}


def test_a_day_without_loss_balances() -> None:
    """Three orders, one on the desk, one refused mailbox: all accounted for."""
    ledger = reckon(ORDERS, STATES, WORLD, HELD)
    assert ledger.holds
    assert ledger.jobs["order"].resting == {"succeeded": 2, "in-review": 1}
    assert ledger.jobs["mail"].resting == {"succeeded": 1, "ignored": 1}


def test_an_order_that_was_placed_demands_its_follow_ups() -> None:
    """A placed order without its invoice job is a lost job, though nobody published it here."""
    states = {one: state for one, state in STATES.items() if one != job_id(3, "invoice")}
    assert reckon(ORDERS, states, WORLD, HELD).jobs["invoice"].lost == (job_id(3, "invoice"),)


def test_a_follow_up_of_an_order_on_the_desk_is_unexpected() -> None:
    """Nothing may go out for an order that a person has not seen yet."""
    states = {**STATES, job_id(1, "parcel"): "succeeded"}
    assert not reckon(ORDERS, states, WORLD, HELD).jobs["parcel"].holds


@pytest.mark.parametrize(
    ("world", "held"),
    [
        (replace(WORLD, mails=[]), HELD),
        (replace(WORLD, mails=[2, 3]), HELD),
        (replace(WORLD, invoices=[2]), HELD),
        (replace(WORLD, parcels=[2, 3, 9]), HELD),
        (replace(WORLD, journal=[1, 3, 2]), HELD),
        (replace(WORLD, ignored=[]), {**HELD, "shop.ignored": 0}),
        (replace(WORLD, ignored=[2, 3]), {**HELD, "shop.ignored": 2}),
        (WORLD, {**HELD, "shop.q.orders": 1}),
        (WORLD, {**HELD, "shop.ignored": 0}),
    ],
)
def test_a_world_or_a_broker_that_disagrees_fails_the_ledger(
    world: World, held: dict[str, int]
) -> None:
    """A missing mail, a mail to a refused mailbox, a message left behind, a record missing."""
    assert not reckon(ORDERS, STATES, world, held).holds


def test_a_record_kept_twice_is_shown_and_allowed() -> None:
    """A worker killed after it told the broker, before its ack, tells it again: at least once."""
    world = replace(WORLD, ignored=[3, 3])
    ledger = reckon(ORDERS, STATES, world, {**HELD, "shop.ignored": 2})
    assert ledger.holds
    assert ledger.world[-1].repeated == (3,)


def test_an_order_resolved_by_hand_has_no_follow_ups() -> None:
    """A person ended it: it rests, and nothing was sent for it."""
    ledger = reckon(ORDERS, {**STATES, job_id(1, "order"): "resolved"}, WORLD, HELD)
    assert ledger.holds
    assert ledger.jobs["order"].resting == {"succeeded": 2, "resolved": 1}


def test_the_day_is_over_when_every_sent_job_rests() -> None:
    """A job that the store does not know yet, or that moves, keeps the demo waiting."""
    sent = sent_jobs(ORDERS, STATES)
    assert at_rest(sent, STATES)
    assert not at_rest(sent, {**STATES, job_id(2, "mail"): "retrying"})
    assert not at_rest(sent_jobs([*ORDERS, 4], STATES), STATES)


def test_the_persons_edit_must_find_its_place() -> None:
    """An edit that hits nothing, or two places, is refused rather than guessed."""
    assert mend("a 0.00 b", "0.00", "14.37") == "a 14.37 b"
    with pytest.raises(ValueError, match="got it 2 times"):
        mend("0.00 0.00", "0.00", "14.37")

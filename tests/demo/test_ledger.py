"""The demo's ledger can fail: every kind of fault makes it say so."""

from __future__ import annotations

import pytest

from examples.shop.ledger import Balance, Ledger, Left, balance, outside

STATES = {"a": "succeeded", "b": "ignored", "c": "in-review"}


def test_a_full_account_balances() -> None:
    """Sent = done + ignored + in review, lost 0."""
    account = balance(["a", "b", "c"], STATES)
    assert account.holds
    assert account.sent == 3
    assert account.resting == {"succeeded": 1, "ignored": 1, "in-review": 1}


@pytest.mark.parametrize("state", [None, "unknown"])
def test_a_job_that_the_store_does_not_know_is_lost(state: str | None) -> None:
    """A sent id without an ending is named, and the balance fails."""
    states = STATES if state is None else {**STATES, "d": state}
    account = balance(["a", "b", "c", "d"], states)
    assert account.lost == ("d",)
    assert not account.holds


@pytest.mark.parametrize("state", ["queued", "running", "retrying"])
def test_a_job_that_still_moves_is_no_ending(state: str) -> None:
    """Unfinished work must not be counted as done."""
    account = balance(["a", "d"], {"a": "succeeded", "d": state})
    assert account.unfinished == ("d",)
    assert not account.holds


def test_a_job_that_nobody_sent_is_unexpected() -> None:
    """An id out of nowhere fails the balance, even when every sum fits."""
    account = balance(["a"], {"a": "succeeded", "x": "succeeded"})
    assert account.unexpected == ("x",)
    assert not account.holds


def test_an_id_sent_twice_is_a_duplicate() -> None:
    """Two messages under one id cannot both be accounted for by one state."""
    account = balance(["a", "a"], {"a": "succeeded"})
    assert account.sent_twice == ("a",)
    assert not account.holds


def test_a_state_unknown_to_the_ledger_is_not_an_ending() -> None:
    """A new state must be named here before it counts as rest."""
    assert not balance(["a"], {"a": "mislaid"}).holds


def test_the_world_agrees_when_each_done_order_left_one_trace() -> None:
    """Done and seen are the same orders."""
    assert outside("mails", [1, 2], [2, 1], []).holds


def test_a_mail_that_never_arrived_is_missing() -> None:
    """The store says done, the world saw nothing."""
    mails = outside("mails", [1, 2], [1], [])
    assert mails.missing == (2,)
    assert not mails.holds


def test_a_mail_that_nobody_accounts_for_is_unexplained() -> None:
    """The world saw something that no job claims."""
    mails = outside("mails", [1], [1, 7], [])
    assert mails.unexplained == (7,)
    assert not mails.holds


def test_a_repeated_effect_is_shown_and_allowed() -> None:
    """A worker killed between the effect and the ack leaves the effect twice: at least once."""
    mails = outside("mails", [1], [1, 1], [])
    assert mails.repeated == (1,)
    assert mails.holds


def test_an_ordered_effect_that_came_out_of_order_fails() -> None:
    """A repeat may come late; a first time may not."""
    assert outside("lines", [1, 2, 3], [1, 2, 1, 3], [], ordered=True).holds
    assert not outside("lines", [1, 2, 3], [1, 3, 2], [], ordered=True).holds


def test_the_trace_of_a_job_on_the_desk_is_explained_but_not_demanded() -> None:
    """A job that failed after its effect rests on the desk with the trace already there."""
    assert outside("parcels", [1], [1, 2], [2, 3]).holds


def _fitting() -> dict[str, Balance]:
    return {"orders": balance(["a"], {"a": "succeeded"})}


def test_one_sum_that_fails_fails_the_ledger() -> None:
    """A message left in a queue is enough."""
    assert Ledger(_fitting(), [outside("mails", [1], [1], [])], [Left("q", 0, 0)]).holds
    assert not Ledger(_fitting(), [], [Left("q", 0, 1)]).holds
    assert not Ledger(_fitting(), [outside("mails", [1], [], [])], []).holds


def test_an_empty_ledger_proves_nothing() -> None:
    """A run that counted no job has not balanced."""
    assert not Ledger({}, [], []).holds

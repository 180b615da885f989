"""An accident happens once, in time, and passes."""

from __future__ import annotations

from collections import Counter

from examples.shop.accidents import Accident, Accidents


def test_an_accident_waits_for_the_work_happens_once_and_passes() -> None:
    """Not before enough work is done, once, and the repair comes when it has lasted."""
    happened: list[str] = []
    accident = Accident(
        kind="mail",
        done=10,
        happen=lambda: happened.append("down"),
        lasts=2.0,
        repair=lambda: happened.append("up"),
    )
    few, enough = {"mail": Counter(succeeded=9)}, {"mail": Counter(succeeded=10)}
    assert not accident.watch(few, now=0.0)
    assert happened == []
    assert not accident.watch(enough, now=1.0)
    assert not accident.watch(enough, now=2.9)
    assert happened == ["down"]
    assert accident.watch(enough, now=3.0)
    assert happened == ["down", "up"]


def test_all_accidents_must_be_over() -> None:
    """The demo may not end before its accidents have happened."""
    happened: list[str] = []
    accidents = Accidents(Accident("mail", 1, lambda: happened.append("kill")))
    assert not accidents.watch({"mail": Counter()})
    assert accidents.watch({"mail": Counter(succeeded=1)})
    assert accidents.watch({"mail": Counter(succeeded=1)})
    assert happened == ["kill"]

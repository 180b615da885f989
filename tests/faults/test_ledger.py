"""The ledger's check can fail: it catches a loss, a duplicate outcome, an unexpected id."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.faults.ledger import Line, Pen, balance, read, recovery

GOOD = """
A 1 one
C 2 one job-1 0.5
S 3 one job-1 1
E 4 one job-1
D 5 - job-1
d 6 one job-1
A 1 two
C 2 two job-2 1.5
S 3 two job-2 1
V 4 - job-2
v 6 two job-2
"""


def lines(text: str, folder: Path) -> list[Line]:
    """The text as a ledger that was written and read."""
    path = folder / "ledger"
    path.unlink(missing_ok=True)
    pen = Pen(path)
    for line in text.strip().splitlines():
        kind, _, token, *rest = line.split()
        pen.write(kind, token, *rest)
    return read(path)


def faults(text: str, folder: Path, most: int = 0) -> list[str]:
    """What the check says of the good ledger with ``text`` behind it."""
    return balance(lines(GOOD + text, folder)).faults(most_duplicates=most)


def test_a_ledger_without_a_fault_holds(tmp_path: Path) -> None:
    found = balance(lines(GOOD, tmp_path))
    assert found.faults(most_duplicates=0) == []
    assert (found.attempted, found.confirmed, found.done, found.in_review) == (2, 2, 1, 1)
    assert found.longest_publish == 1.5


def test_a_long_ledger_is_read_from_where_somebody_stopped(tmp_path: Path) -> None:
    """And from its end, where nothing has been written yet."""
    everything = lines(GOOD, tmp_path)
    path = tmp_path / "ledger"
    end = path.stat().st_size
    assert read(path, end) == []
    Pen(path).write("A", "three")
    assert [line.token for line in read(path, end)] == ["three"]
    assert len(read(path)) == len(everything) + 1


def test_a_line_that_is_seen_half_is_left_for_the_next_look(tmp_path: Path) -> None:
    """At the end, and where somebody starts who asked for the size in that moment."""
    everything = lines(GOOD, tmp_path)
    path = tmp_path / "ledger"
    with path.open("a") as ledger:
        ledger.write("E 7.25 tw")
        ledger.flush()
        inside = path.stat().st_size
        assert read(path) == everything
        assert read(path, inside) == []
        ledger.write("o job-2 -\nA 8.5 three - -\n")
    assert [line.token for line in read(path)[-2:]] == ["two", "three"]
    assert [line.token for line in read(path, inside)] == ["three"]


def test_a_loss_is_caught(tmp_path: Path) -> None:
    """Confirmed and never ended; begun is not enough."""
    found = faults("A 1 gone\nC 2 gone job-3 0.1\nS 3 gone job-3 1", tmp_path)
    assert found == ["1 lost: gone"]


def test_an_attempt_that_was_never_confirmed_may_end_or_not(tmp_path: Path) -> None:
    """Its outcome was unknown to the sender."""
    assert faults("A 1 unknown", tmp_path) == []
    ended = "A 1 unsure\nS 1 unsure job-4 1\nE 1 unsure job-4\nD 1 - job-4\nd 1 unsure job-4"
    assert faults(ended, tmp_path) == []


def test_a_duplicate_outcome_is_caught(tmp_path: Path) -> None:
    assert faults("D 7 - job-1", tmp_path) == ["1 outcomes were recorded a second time"]
    assert faults("d 7 one job-1", tmp_path) == ["1 outcomes were recorded a second time"]


def test_an_unexpected_id_is_caught(tmp_path: Path) -> None:
    found = faults("S 1 - job-9 1\nE 1 - job-9\nD 1 - job-9\nd 1 - job-9", tmp_path)
    assert found == ["1 unexpected: job-9"]


def test_two_different_endings_are_caught(tmp_path: Path) -> None:
    """Whoever told of them: here a worker told of a case, and the store says that it is done."""
    found = faults(
        "A 1 torn\nS 1 torn job-5 1\nE 1 torn job-5\nV 1 - job-5\nd 1 torn job-5", tmp_path
    )
    assert found == ["1 with two endings: torn"]


def test_an_ending_that_the_store_does_not_know_is_caught(tmp_path: Path) -> None:
    found = faults("A 1 told\nS 1 told job-6 1\nE 1 told job-6\nD 1 - job-6", tmp_path)
    assert found == ["1 ended, but not recorded: told"]


def test_a_success_without_an_effect_is_caught(tmp_path: Path) -> None:
    found = faults("A 1 hollow\nS 1 hollow job-7 1\nD 1 - job-7\nd 1 hollow job-7", tmp_path)
    assert found == ["1 done without an effect: hollow"]


def test_duplicate_runs_are_counted_by_attempt_and_bounded(tmp_path: Path) -> None:
    """A second attempt is no duplicate of the first; one begun before the ending is a plain one."""
    again = "A 1 slow\nS 1 slow job-8 1\nS 1 slow job-8 1\nS 1 slow job-8 2\n"
    ended = "E 1 slow job-8\nD 1 - job-8\nd 1 slow job-8"
    assert faults(again + ended, tmp_path, most=1) == []
    assert faults(again + ended, tmp_path) == ["expected at most 0 duplicate runs, got 1"]


def test_a_run_after_the_recorded_ending_is_caught(tmp_path: Path) -> None:
    found = faults("S 9 one job-1 1", tmp_path, most=1)
    assert [re.sub("[0-9.]+ s", "T s", one) for one in found] == [
        "1 attempts began again after their recorded ending, by T s"
    ]


RELEASED = """\
A 1 asked
C 1 asked job-9 0.1
S 1 asked job-9 1
V 1 - job-9 1
R 1 - job-9
S 1 asked job-9 2
"""
ENDED = "E 1 asked job-9\nD 1 - job-9 2\nd 1 asked job-9\n"


def test_a_released_job_ends_by_what_comes_after_its_rest(tmp_path: Path) -> None:
    found = balance(lines(GOOD + RELEASED + ENDED, tmp_path))
    assert found.faults(most_duplicates=0) == []
    assert (found.done, found.in_review) == (2, 1)


def test_a_release_that_is_lost_is_caught(tmp_path: Path) -> None:
    """Its rest in review is no ending any more; the store may say that it still rests."""
    assert faults(RELEASED, tmp_path) == ["1 lost: asked"]
    assert faults(RELEASED + "v 1 asked job-9", tmp_path) == []


def test_a_job_that_is_released_twice_is_caught(tmp_path: Path) -> None:
    """Each release has one attempt; a copy of it is a duplicate run, and bounded as such."""
    third = "S 1 asked job-9 3\n"
    assert faults(RELEASED + third + ENDED, tmp_path) == ["1 begun more often than released: asked"]
    assert faults(RELEASED + "R 1 - job-9\n" + third + ENDED, tmp_path) == []
    copy = faults(RELEASED + "S 1 asked job-9 2\n" + ENDED, tmp_path)
    assert copy == ["expected at most 0 duplicate runs, got 1"]


def test_a_copy_of_what_rested_is_caught(tmp_path: Path) -> None:
    """It rests once, and what has rested does not begin again."""
    rest = faults(RELEASED + "V 1 - job-9 1\n" + ENDED, tmp_path)
    assert rest == ["1 outcomes were recorded a second time"]
    again = faults(RELEASED + "S 1 asked job-9 1\n" + ENDED, tmp_path, most=1)
    assert len(again) == 1
    assert "began again after their recorded ending" in again[0]


def test_a_rerun_may_be_allowed_within_a_time_of_the_ending() -> None:
    """Of two copies that came together, one begins moments after the other's end, never later."""
    ledger = [
        Line("A", 1, "one", "-", ""),
        Line("C", 1, "one", "job-1", "0.1"),
        Line("S", 2, "one", "job-1", "1"),
        Line("E", 2, "one", "job-1", ""),
        Line("D", 3, "one", "job-1", ""),
        Line("S", 3.5, "one", "job-1", "1"),
        Line("d", 4, "one", "job-1", ""),
    ]
    found = balance(ledger)
    assert found.reruns == (0.5,)
    assert found.faults(most_duplicates=1, most_reruns=1) == []
    assert found.faults(most_duplicates=1, most_reruns=1, rerun_seconds=0.6) == []
    late = ["1 attempts began again after their recorded ending, by 0.500 s"]
    assert found.faults(most_duplicates=1, most_reruns=1, rerun_seconds=0.4) == late
    assert found.faults(most_duplicates=1, most_reruns=0, rerun_seconds=0.6) == late


def test_a_run_without_load_proves_nothing(tmp_path: Path) -> None:
    (found,) = balance(lines("A 1 one", tmp_path)).faults(most_duplicates=0)
    assert "nothing was confirmed" in found


def test_recovery_is_the_time_until_a_job_sent_after_the_fault_has_run() -> None:
    told = [
        Line("A", 1.0, "old"),
        Line("A", 11.0, "new"),
        Line("E", 12.0, "old"),
        Line("E", 13.0, "new"),
    ]
    assert recovery(told, 10.0) == 3.0
    assert recovery(told, 12.0) is None


@pytest.mark.timeout(30)
def test_many_processes_append_whole_lines(tmp_path: Path) -> None:
    """Two forks write at the same time; no line is torn."""
    path = tmp_path / "ledger"
    children = []
    for name in ("a", "b"):
        child = os.fork()
        if child == 0:
            pen = Pen(path)
            for number in range(500):
                pen.write("A", f"{name}{number}")
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    assert len({line.token for line in read(path)}) == 1000

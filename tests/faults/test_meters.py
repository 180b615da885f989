"""The verdict of a soak can fail: it catches every leak, and lets alone what wobbles."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.faults.meters import FEWEST, Reading, Verdict, judge, of_process


def verdicts(meter: str, value: Callable[[int], float], readings: int = 120) -> list[Verdict]:
    """What is said of one meter that was read so often."""
    return judge(Reading(5.0 * n, "worker", meter, value(n)) for n in range(readings))


def is_flat(meter: str, value: Callable[[int], float]) -> bool:
    (found,) = verdicts(meter, value)
    return found.flat


@pytest.mark.parametrize(
    ("meter", "level", "each"),
    [
        ("memory", 80.0, 0.25),  # 3 MiB in a minute of readings
        ("files", 20.0, 0.1),
        ("threads", 8.0, 0.1),
        ("channels", 8.0, 0.1),
        ("connections", 8.0, 0.1),
    ],
)
def test_a_leak_is_caught(meter: str, level: float, each: float) -> None:
    """A little at every reading: no single one stands out."""
    assert not is_flat(meter, lambda n: level + int(each * n))


def test_a_leak_beneath_wild_swings_is_caught() -> None:
    chance = random.Random(1)
    assert not is_flat("memory", lambda n: 80 + 0.3 * n + chance.uniform(-5, 5))


def test_what_only_wobbles_is_flat() -> None:
    chance = random.Random(2)
    assert is_flat("memory", lambda _: 80 + chance.uniform(-5, 5))


def test_caches_that_fill_at_first_are_no_leak() -> None:
    """The first quarter is not looked at."""
    assert is_flat("memory", lambda n: 40 + 40 * min(n, 28) / 28)


def test_a_peak_while_a_fault_lasts_is_no_leak() -> None:
    """Connections that the broker has not missed yet, for a few readings of the last quarter."""
    assert is_flat("connections", lambda n: 30 if 100 <= n < 110 else 8)


def test_what_grew_and_was_given_back_is_flat() -> None:
    assert is_flat("files", lambda n: 60 if 60 <= n < 88 else 20)


def test_a_level_that_rose_late_and_stays_is_caught() -> None:
    """One fault in the middle that left five files open."""
    assert not is_flat("files", lambda n: 20 if n < 70 else 25)


def test_each_meter_is_judged_by_itself() -> None:
    """One leak among flat meters of the same process, and another process that is fine."""
    readings = [
        Reading(float(n), who, meter, value)
        for n in range(100)
        for who, meter, value in (
            ("worker", "memory", 80.0),
            ("worker", "files", 20.0 + n),
            ("publisher", "files", 20.0),
        )
    ]
    found = {(one.who, one.meter): one.flat for one in judge(readings)}
    assert found == {
        ("worker", "memory"): True,
        ("worker", "files"): False,
        ("publisher", "files"): True,
    }


def test_too_few_readings_have_no_verdict() -> None:
    assert verdicts("files", lambda n: n, FEWEST - 1) == []
    assert len(verdicts("files", lambda n: n, FEWEST)) == 1


def test_a_verdict_says_what_it_compares() -> None:
    (found,) = verdicts("files", lambda n: 20 + n)
    assert "worker" in str(found)
    assert "GROWING" in str(found)
    assert (found.early, found.late, found.most) == (64.5, 124.5, 67.5)


COMES_AND_GOES = """
import os, threading, time

def done():
    print("done", flush=True)
    input()

done()
kept = bytearray(b"x") * (64 << 20)
pipes = [end for _ in range(5) for end in os.pipe()]
gate = threading.Event()
waiting = [threading.Thread(target=gate.wait) for _ in range(3)]
for one in waiting:
    one.start()
done()
gate.set()
for end in pipes:
    os.close(end)
for one in waiting:
    one.join()
# ``join`` returns a moment before the kernel lets the thread go.
while len(os.listdir("/proc/self/task")) > 1:
    time.sleep(0.01)
done()
"""


def test_the_meters_of_a_process_see_memory_files_and_threads_come_and_go() -> None:
    """Of one that does nothing else: here, other tests' threads and files may end meanwhile."""
    with subprocess.Popen(
        [sys.executable, "-c", COMES_AND_GOES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as one:
        assert one.stdin is not None and one.stdout is not None
        readings = []
        for _ in range(3):
            assert one.stdout.readline() == b"done\n"
            readings.append(of_process(one.pid))
            one.stdin.write(b"next\n")
            one.stdin.flush()
        before, during, after = readings
        assert one.stdout.readline() == b""
    assert during["memory"] - before["memory"] > 0.9 * 64
    assert during["files"] - before["files"] == 10
    assert during["threads"] - before["threads"] == 3
    assert after["files"] == before["files"]
    assert after["threads"] == before["threads"]


def test_a_process_that_has_ended_has_no_meters() -> None:
    """Neither before anybody has waited for it, nor afterwards."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert of_process(ended.pid) == {}
    ended.wait()
    assert of_process(ended.pid) == {}

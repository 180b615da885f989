"""The table of ``rabbitjobs run``: live in a terminal (a pty here), and nowhere else."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.broker.crew import Crew, until

SHOP = """
import os
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("whoami", queue="one")
def whoami() -> int:
    return os.getpid()
"""
TOPOLOGY = """
version: 1
namespace: shop
queues:
  one: {concurrency: 1}
  two: {concurrency: 1}
"""
NAMES = ["one", "two 1", "two 2", "intake", "notify"]
COMMAND = (sys.executable, "-m", "rabbitjobs", "run", "--processes", "two=2")
# Up, to the line's start, erased: a table is drawn over the one before it.
AGAIN = re.compile(r"(?:\r|\x1b\[[0-9]*[AK])+")
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
HEAD = re.compile(r"^( ?process +)(pid +)(state +)(up +)(restarts +)why *$", re.MULTILINE)


@dataclass(frozen=True)
class Row:
    """One process as the table shows it."""

    pid: int
    state: str
    up: str
    restarts: int
    why: str


@dataclass
class Terminal:
    """A process in a terminal of 40 lines and 140 columns, and all that it has written there."""

    process: subprocess.Popen[bytes]
    screen: int
    raw: bytes = b""
    reader: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):  # how Linux says that the last writer has gone
            while piece := os.read(self.screen, 65_536):
                self.raw += piece

    @property
    def text(self) -> str:
        """Without the escape sequences, one drawing below the other."""
        plain = self.raw.decode(errors="replace").replace("\r\n", "\n")
        return ESCAPES.sub("", AGAIN.sub("\n", plain))

    def table(self) -> dict[str, Row]:
        """The table that was drawn last and whole."""
        return next((rows for rows in reversed(self.tables()) if list(rows) == NAMES), {})

    def tables(self) -> list[dict[str, Row]]:
        """Every table that was drawn, as far as its rows stand whole below its head."""
        text = self.text
        return [_rows(head, text[head.end() + 1 :]) for head in HEAD.finditer(text)]


def _rows(head: re.Match[str], below: str) -> dict[str, Row]:
    starts = [head.start(group) - head.start() for group in range(1, 6)]
    ends = [*starts[1:], head.end(5) - head.start()]
    rows: dict[str, Row] = {}
    for line in below.split("\n")[: len(NAMES)]:
        if len(line) < head.end() - head.start():
            break  # each is as wide as the head: the rest of this one is to come
        name, pid, state, up, restarts = (
            line[start:end].strip() for start, end in zip(starts, ends, strict=True)
        )
        why = line[ends[-1] :].strip()
        rows[name] = Row(int(pid or 0), state, up, int(restarts or 0), why)
    return rows


@pytest.fixture
def terminal(shop: Crew) -> Iterator[Terminal]:
    """``rabbitjobs run`` in a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 140, 0, 0))
    environment = shop.environment() | {"TERM": "xterm-256color"}
    for name in ("COLUMNS", "LINES"):  # these would win over what the terminal says
        environment.pop(name, None)
    process = subprocess.Popen(
        COMMAND, cwd=shop.folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    found = Terminal(process, ours)
    yield found
    if process.poll() is None:
        process.kill()
        process.wait()
    found.reader.join()
    os.close(ours)


def test_the_table_is_live(shop: Crew, terminal: Terminal) -> None:
    """Each process with pid, state and restarts; one that is killed comes back with another pid."""

    def settled() -> bool:
        rows = terminal.table()
        return bool(rows) and all(row.state == "consuming" for row in rows.values())

    until(settled, why=lambda: terminal.text[-4000:])
    before = terminal.table()
    assert len({row.pid for row in before.values()}) == len(NAMES)
    assert all(row.restarts == 0 and row.why == "" for row in before.values())
    assert shop.app.remote("whoami", queue="one").send().result(40) == before["one"].pid

    os.kill(before["one"].pid, signal.SIGKILL)
    until(lambda: terminal.table()["one"].pid != before["one"].pid)
    until(settled, why=lambda: terminal.text[-4000:])
    after = terminal.table()
    assert after["one"].restarts == 1
    assert shop.app.remote("whoami", queue="one").send().result(40) == after["one"].pid
    for name in NAMES[1:]:
        assert (after[name].pid, after[name].restarts) == (before[name].pid, 0)
    assert re.search(r"one +restarting +1 +ended with signal SIGKILL, again in", terminal.text)

    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.process.wait(40) == 0, terminal.text[-4000:]
    terminal.reader.join()
    last = terminal.table()
    assert {row.state for row in last.values()} == {"stopped"}
    assert {row.why for row in last.values()} == {"exit 0"}
    assert {row.pid for row in last.values()} == {0}


def test_the_time_goes_on_without_any_event(terminal: Terminal) -> None:
    """The table is drawn every second."""

    def up() -> str:
        row = terminal.table().get("one")
        return row.up if row else ""

    until(lambda: up() != "", why=lambda: terminal.text[-4000:])
    seen = up()
    until(lambda: up() not in ("", seen), why=lambda: terminal.text[-4000:])


def test_log_lines_stand_above_the_table_whole(terminal: Terminal) -> None:
    """The processes do not write to the terminal themselves: the table would be torn."""
    whole = re.compile(r"^\S+ \[info +\] healthy: consuming .*queue=\S+ *$", re.MULTILINE)
    until(
        lambda: len(whole.findall(terminal.text)) == len(NAMES),
        why=lambda: terminal.text[-4000:],
    )
    drawn = terminal.tables()
    assert all(list(rows) == NAMES for rows in drawn[:-1]), terminal.text
    assert terminal.text.count("healthy: consuming") == len(NAMES), terminal.text


def test_without_a_terminal_nothing_is_drawn(shop: Crew) -> None:
    """Lines of JSON only, of every process."""
    supervisor = shop.start(*COMMAND[3:])
    supervisor.says("healthy: consuming", times=len(NAMES))
    supervisor.signal(signal.SIGTERM)
    assert supervisor.ends() == 0
    assert "\x1b" not in supervisor.log
    assert HEAD.search(supervisor.log) is None
    assert all(line.startswith("{") for line in supervisor.log.splitlines()), supervisor.log

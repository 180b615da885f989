"""The README's programs run as they stand there, as a reader would run them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.docs.reader import ROOT, Reader, end, free_port

# Many processes, one after another: on a busy machine each start takes many seconds.
pytestmark = pytest.mark.timeout(360)

README = (ROOT / "README.md").read_text(encoding="utf-8")
ID, CASE = "01a1fc5d-7acb-7000-893d-318724093917", "01a1fc5d-790e"
_BLOCK = re.compile(r"<!-- test: (\w+) -->\n```(\w+)\n# (\S+)\n(.*?)```", re.DOTALL)


def blocks(name: str) -> dict[str, str]:
    """File names and texts of the README's blocks that belong to one program."""
    return {file: text for test, _, file, text in _BLOCK.findall(README) if test == name}


def printed(*words: str) -> tuple[str, ...]:
    """The arguments of the command that the program's console block prints with these words."""
    (block,) = (
        part for part in re.findall(r"```console\n(.*?)```", README, re.DOTALL) if ID in part
    )
    lines = [line for part in block.splitlines() for line in part.removeprefix("$ ").split(" && ")]
    (line,) = (
        line for line in lines if line.startswith("rabbitjobs") and set(words) <= {*line.split()}
    )
    return tuple(shlex.split(line, comments=True)[1:])


def write(folder: Path, files: dict[str, str]) -> None:
    """Write a program as the reader would."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


class Inbox:
    """Keeps what the mail server took."""

    def __init__(self) -> None:
        self.recipients: list[str] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take every mail."""
        self.recipients.extend(envelope.rcpt_tos)
        return "250 OK"


@pytest.fixture
def inbox() -> Iterator[tuple[Inbox, int]]:
    """A real mail server on loopback, and its port."""
    taken, port = Inbox(), free_port()
    server = Controller(taken, hostname="127.0.0.1", port=port)
    server.start()
    yield taken, port
    server.stop()


def test_the_complete_program_fits_on_a_page() -> None:
    """Config and code together take at most 60 lines."""
    assert 0 < sum(len(text.splitlines()) + 1 for text in blocks("shop").values()) <= 60


def test_the_complete_program_does_what_the_readme_says(
    reader: Reader, inbox: tuple[Inbox, int]
) -> None:
    """Two mails go out, the third job is told and waits on the desk, and is repaired there."""
    taken, port = inbox
    files = blocks("shop")
    files["shop.py"] = files["shop.py"].replace('"localhost", 2525', f'"127.0.0.1", {port}')
    write(reader.folder, files)
    command = ("-m", "rabbitjobs")
    reader.python(*command, *printed("topology", "apply"))
    worker = reader.start(*command, *printed("run"))
    try:
        ids = re.findall(r"[0-9a-f-]{36}", reader.python("shop.py"))
        result = printed("result")[:-1]
        for job_id in ids[:2]:
            told = reader.python(*command, *result, job_id, "--wait", "30s")
            assert "sent to ada@shop.example" in told
        assert taken.recipients == ["ada@shop.example"] * 2
        case = _case_of(reader, ids[2])[: len(CASE)]
        assert case in reader.python(*command, *printed("review", "list"))
        edit = (case if word == CASE else word for word in printed("review", "edit"))
        reader.python(*command, *edit)
        assert "succeeded" in reader.python(*command, *result, ids[2], "--wait", "30s")
        assert "shop.q.emails" in reader.python(*command, *printed("explain"))
        assert " 0 faults" in reader.python(*command, *printed("doctor"))
    finally:
        assert end(worker) == 0, reader.log()


def _case_of(reader: Reader, job_id: str) -> str:
    program = f"""
import sys, time
from shop import app
for _ in range(300):
    cases = [case for case in app.desk.list().cases if case.job_id == {job_id!r}]
    if cases:
        print(cases[0].id)
        break
    time.sleep(0.1)
"""
    return reader.python("-c", program).strip()

"""How ``inspect`` and ``control`` print what workers answer, and with what code they end."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from rabbitjobs.cli import control, inspect
from rabbitjobs.cli.asking import Shown, exit_code, show
from rabbitjobs.cli.root import cli
from rabbitjobs.control.client import Asked
from rabbitjobs.control.protocol import Answer


def printed(asked: Asked, shown: Shown, *, as_json: bool = False) -> Result:
    """What a command prints and how it ends."""

    @click.command()
    def command() -> None:
        show(asked, shown, as_json=as_json)
        raise SystemExit(exit_code(asked))

    return CliRunner().invoke(command)


def of(value: Any, *, silent: tuple[str, ...] | None = (), error: str | None = None) -> Asked:
    """One worker's answer."""
    answers = (Answer(worker="h\x1b[1m:1", value=value, error=error),)
    return Asked(answers=answers, silent=silent)


JOB = {"job_id": "i", "job": "j\n", "queue": "q", "attempt": 2, "tag": "t"}
QUEUE = {
    "queue": "q",
    "state": "consuming",
    "slots": 3,
    "busy": 1,
    "waiting": 2,
    "settled": 1234,
    "given_back": 0,
    "cancellations": 0,
    "trouble": "",
}


@pytest.mark.parametrize(
    ("value", "shown", "text"),
    [
        (
            {"pid": 7, "seconds": 61.0, "most_memory": 64 * 1024**2, "queues": [QUEUE]},
            inspect._show_stats,
            "  q: consuming, 1 of 3 slots busy, 2 waiting, 1,234 settled",
        ),
        ([JOB | {"seconds": 1.23}], inspect._show_jobs, "  i j\\n attempt 2, 1.2 s, tag t"),
        ([JOB | {"cancelled": True}], inspect._show_jobs, "  i j\\n attempt 2, tag t, cancelled"),
        ([], inspect._show_jobs, "  none"),
        ([{"job": "j", "queue": "q", "pool": "solo"}], inspect._show_registered, "  j on q, pool"),
        ([JOB | {"stack": "File\n\x1b[2J"}], inspect._show_stacks, "    File\n    \\x1b[2J"),
        ([JOB | {"stack": None}], inspect._show_stacks, "another process"),
        ([{"queue": "q", "slots": 3, "before": 2}], control._show, "  queue q, slots 3, before 2"),
        ([], control._show, "  does not consume that queue"),
        (None, control._show, "  done"),
    ],
)
def test_an_answer_is_printed_for_each_worker(value: Any, shown: Shown, text: str) -> None:
    """Foreign text plays no tricks with the terminal."""
    ran = printed(of(value), shown)
    assert ran.exit_code == 0
    assert ran.output.startswith("h\\x1b[1m:1:\n")
    assert text in ran.output
    assert "\x1b" not in ran.output


@pytest.mark.parametrize(
    ("asked", "code", "text"),
    [
        (of(1, silent=("h:2", "h:3")), 3, "no answer: h:2, h:3"),
        (of(1, silent=None), 0, "who did not answer is unknown"),
        (of(None, error="expected more"), 1, "refused: expected more"),
        (Asked(answers=(), silent=()), 3, "no worker is there"),
    ],
)
def test_who_did_not_answer_is_named(asked: Asked, code: int, text: str) -> None:
    """And the exit code says it to scripts."""
    ran = printed(asked, lambda _value: None)
    assert (ran.exit_code, text in ran.output) == (code, True)


def test_scripts_get_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """One object for each worker, and the list of the others."""
    ran = printed(of({"pid": 7}, silent=("h:2",)), lambda _value: None, as_json=True)
    assert json.loads(ran.output) == {"answers": {"h\x1b[1m:1": {"pid": 7}}, "no_answer": ["h:2"]}


@pytest.mark.parametrize("given", [[], ["--all", "--worker", "h:1"]])
def test_nobody_is_shut_down_by_accident(given: list[str]) -> None:
    """All of them must be meant."""
    ran = CliRunner().invoke(cli, ["control", "shutdown", *given])
    assert ran.exit_code == 2
    assert "--worker HOST:PID or --all" in ran.output

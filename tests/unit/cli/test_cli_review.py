"""`rabbitjobs review` and `rabbitjobs store`: parsing, printing, and the editor's round."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from click.testing import Result

from rabbitjobs.backend.protocol import Status
from rabbitjobs.backend.sql import SqlBackend
from rabbitjobs.cli.review_text import columns, visible
from rabbitjobs.cli.store import store as store_group
from rabbitjobs.cli.table import show
from rabbitjobs.errors import ArgumentsRefused, CaseChanged
from rabbitjobs.review.moment import moment
from rabbitjobs.store.engine import Store
from rabbitjobs.store.fresh import REVISIONS
from rabbitjobs.store.outbox import OutboxRow

Run = Callable[..., Result]


def test_a_list_is_columns_in_a_pipe(run: Run, make: Callable[..., str]) -> None:
    """One case a line; ended ones only when asked for."""
    first, second = make(), make(error="x" * 500)
    run("discard", first, "--reason", "no")
    head, line = run("list").output.splitlines()
    assert head.split() == ["CASE", "STATE", "JOB", "QUEUE", "ATT", "ERROR", "AGE"]
    assert line.split()[:5] == [second[:18], "open", "shop.mail", "emails", "1"]
    assert len(run("list", "--state", "all").output.splitlines()) == 3


def test_columns_of_korean_stand_below_each_other() -> None:
    """A wide sign takes two places, in the desk's lists as in every other table of a pipe."""
    rows = [("QUEUE", "AGE"), ("주문", "5m"), ("emails", "10m")]
    assert list(columns(rows)) == ["QUEUE   AGE", "주문    5m", "emails  10m"]
    with redirect_stdout(io.StringIO()) as out:
        show(("queue", "ready"), [("주문", 5), ("emails", 10)], right=frozenset({"ready"}))
    assert out.getvalue() == "queue   ready\n주문        5\nemails     10\n"


def test_a_list_is_a_table_in_a_terminal(
    run: Run, make: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a payload's markup is no markup there."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    make(error="[red]not red[/red]")
    output = run("list").output
    assert "┃" in output
    assert "[red]not red[/red]" in output


def test_a_list_goes_on_where_it_ended(run: Run, make: Callable[..., str]) -> None:
    """With the key that it names."""
    made = [make() for _ in range(3)]
    page = json.loads(run("list", "--limit", "2", "--json").output)
    rest = json.loads(run("list", "--after", page["after"], "--json").output)
    assert [case["id"] for case in page["cases"] + rest["cases"]] == made[::-1]
    assert f"more: --after {made[1]}" in run("list", "--limit", "2").output


def test_show_prints_everything_and_escapes_it(run: Run, make: Callable[..., str]) -> None:
    """A payload cannot play tricks with a terminal, not in JSON either."""
    case_id = make(error="\x1b[31mred\nsecond \u202e", arg="\x07\u202e한")
    output = run("show", case_id[:20]).output
    for part in ("default: then review", "shop.review", "attempt 1", "sha256", "intake  open"):
        assert part in output
    plain = run("show", case_id, "--json").output
    for text in (output, plain):
        assert not set(text) & {"\x1b", "\x07", "\u202e"}
    assert json.loads(plain)["case"]["arguments"]["args"] == ["\x07\u202e한"]
    assert json.loads(plain)["case"]["actions"] == [
        "claim",
        "retry",
        "edit",
        "discard",
        "resolve",
        "snooze",
    ]


def test_retry_says_what_became_of_each(
    run: Run, make: Callable[..., str], sent: list[OutboxRow]
) -> None:
    """One that is refused does not hold up the others, and shows in the exit code."""
    first, second = make(), make()
    assert run("retry", first).output == f"case {first}: released, attempt 2\n"
    result = run("retry", first, second, "--queue", "slow", code=1)
    assert f"case {second}: released, attempt 2" in result.output
    assert "which is released" in result.output
    assert [row.queue for row in sent] == ["emails", "slow"]


def test_a_version_is_a_fence(run: Run, make: Callable[..., str]) -> None:
    """For scripts that decided on what they saw."""
    case_id = make()
    run("discard", case_id, "--reason", "no", "--who", "ann")
    with pytest.raises(CaseChanged, match="ann"):
        run("retry", case_id, "--version", "1")


def test_resolve_completes_the_job(run: Run, store: Store, make: Callable[..., str]) -> None:
    """The result is JSON, or it is refused."""
    case_id = make()
    assert "expected JSON" in run("resolve", case_id, "--result", "{", code=2).output
    output = run("resolve", case_id, "--result", '{"sent": true}', "--json").output
    assert json.loads(output)["state"] == "resolved"
    stored = SqlBackend(store).get("job-0")
    assert stored is not None
    assert (stored.status, stored.result) == (Status.SUCCEEDED, b'{"sent":true}')


def test_an_edit_by_option_needs_no_editor(
    run: Run, make: Callable[..., str], sent: list[OutboxRow]
) -> None:
    """It is validated all the same."""
    case_id = make()
    with pytest.raises(ArgumentsRefused):
        run("edit", case_id, "--args", '{"args":["bad"]}')
    run("edit", case_id, "--args", '{"args":["b@example.org"]}')
    assert sent[0].envelope.body == b'{"args":["b@example.org"]}'


def an_editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *steps: str) -> Path:
    """An editor that applies one step after the other, and notes what it was shown."""
    script, log = tmp_path / "editor.py", tmp_path / "shown"
    script.write_text(
        "import pathlib, sys\n"
        f"log = pathlib.Path({str(log)!r}); steps = {list(steps)!r}\n"
        "file = pathlib.Path(sys.argv[1]); text = file.read_text()\n"
        "seen = log.read_text().count('@@') if log.exists() else 0\n"
        "log.write_text((log.read_text() if log.exists() else '') + '@@' + text)\n"
        "old, new = steps[seen].split('>')\n"
        "file.write_text(text.replace(old, new) if old else text)\n"
    )
    monkeypatch.setenv("VISUAL", f"{sys.executable} {script}")
    return log


def test_an_editor_is_opened_again_until_it_fits(
    run: Run,
    make: Callable[..., str],
    sent: list[OutboxRow],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the error on top, which is not part of what is sent."""
    case_id = make()
    steps = ("a@example.org>bad", '"bad">[', '    [\n>    "ok"\n')
    log = an_editor(tmp_path, monkeypatch, *steps)
    case_output = run("edit", case_id).output
    assert "released, attempt 2" in case_output
    _, first, second, third = log.read_text().split("@@")
    assert first.startswith("{")
    assert second.startswith("# to: expected an address, got 'bad'\n# Save it unchanged")
    assert third.startswith("# JSON is malformed")
    assert json.loads(sent[0].envelope.body)["args"] == ["ok"]


@pytest.mark.parametrize("steps", [(">",), ("a@example.org>bad", ">")])
def test_an_editor_that_changes_nothing_sends_nothing(
    run: Run,
    make: Callable[..., str],
    sent: list[OutboxRow],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: tuple[str, ...],
) -> None:
    """At once, or after an error."""
    an_editor(tmp_path, monkeypatch, *steps)
    assert "nothing was changed" in run("edit", make(), code=1).output
    assert sent == []


def test_stats_are_counted(run: Run, make: Callable[..., str]) -> None:
    """As text and as JSON."""
    make()
    assert "smtplib.SMTPDataError  1" in run("stats").output
    assert json.loads(run("stats", "--json").output)["states"] == {"open": 1}


def test_the_store_says_how_it_is(run: Run, store: Store, tmp_path: Path) -> None:
    """And is migrated and cleaned by command."""
    assert "SQLite" in run("status", group=store_group).output
    assert json.loads(run("status", "--json", group=store_group).output)["schema"] == REVISIONS[-1]
    assert "nothing to do" in run("migrate", group=store_group).output
    (tmp_path / "other.db").touch()
    url = f"sqlite:///{tmp_path / 'other.db'}"
    assert (
        "run: rabbitjobs store migrate"
        in run("status", "--url", url, group=store_group, code=1).output
    )
    assert f"(none) -> {REVISIONS[-1]}" in run("migrate", "--url", url, group=store_group).output
    assert run("clean", group=store_group).output == (
        "deleted: 0 results, 0 inbox, 0 unique, 0 told, 0 cancelled, 0 leases\n"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("한국어 é", "한국어 é"),
        ("a\nb\x1b[0m", "a\\nb\\x1b[0m"),
        ("\u202e", "\\u202e"),
    ],
)
def test_only_what_plays_tricks_is_escaped(text: str, shown: str) -> None:
    """Every language stays readable."""
    assert visible(text) == shown


def test_a_time_that_no_calendar_has_is_shown_all_the_same() -> None:
    """A message may claim any."""
    assert moment(0.0) == "1970-01-01 00:00:00 UTC"
    assert moment(None) == ""
    assert moment(2.0**62) == "4611686018427387904 s after 1970"

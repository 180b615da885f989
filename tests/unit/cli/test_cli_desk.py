"""`rabbitjobs review`: causes, claims, gates, exports and bulk actions by command."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import pytest
from click.testing import Result

from rabbitjobs.errors import ActionRefused, NotAllowed
from rabbitjobs.review.options import DeskOptions, FieldRules, Person
from rabbitjobs.store.outbox import OutboxRow

Run = Callable[..., Result]
Make = Callable[..., str]


def test_causes_are_counted(run: Run, make: Make) -> None:
    """And lead to their cases."""
    for error in ("5 full", "6 full", "gone"):
        make(error=error)
    heading, first, _second = run("groups").output.splitlines()
    assert heading.split() == ["GROUP", "OPEN", "ALL", "JOB", "ERROR", "FIRST", "LAST"]
    assert first.split()[1:4] == ["2", "2", "shop.mail"]
    page = json.loads(run("groups", "--json", "--limit", "1").output)
    assert (page["groups"][0]["total"], bool(page["after"])) == (2, True)
    listed = json.loads(run("list", "--group", first.split()[0], "--json").output)
    assert len(listed["cases"]) == 2


def test_a_case_is_claimed_prolonged_stolen_and_given_back(run: Run, make: Make) -> None:
    """Who holds it stands in the list; others are refused."""
    case_id = make()
    run("claim", case_id, "--who", "ann")
    assert "open:ann" in run("list").output
    with pytest.raises(ActionRefused, match="claimed by ann"):
        run("retry", case_id, "--who", "bob")
    run("heartbeat", case_id, "--who", "ann")
    run("steal", case_id, "--reason", "ann is ill", "--who", "bob")
    assert (
        len(json.loads(run("list", "--claimed", "--owner", "bob", "--json").output)["cases"]) == 1
    )
    run("let-go", case_id, "--who", "bob")
    assert "open:" not in run("list", "--free").output
    shown = run("show", case_id).output
    assert "steal  from ann: ann is ill" in shown
    assert "by command line on" in shown


def test_a_case_is_put_off_and_escalated(run: Run, make: Make) -> None:
    """Each is seen in the list."""
    case_id = make()
    run("snooze", case_id, "2h", "--reason", "they call back")
    assert "open:snoozed" in run("list", "--snoozed").output
    assert len(run("list", "--awake").output.splitlines()) == 1
    run("wake", case_id)
    run("escalate", case_id, "--reason", "the customer waits")
    assert "open!" in run("list", "--awake").output
    run("tag", case_id, "--set", "vip")
    assert len(run("list", "--tag", "vip").output.splitlines()) == 2
    assert len(run("list", "--newer", "1h").output.splitlines()) == 2
    assert len(run("list", "--older", "1h").output.splitlines()) == 1


def test_comments_are_written_and_shown(run: Run, make: Make) -> None:
    """With who and when."""
    case_id = make()
    run("comment", case_id, "asked\x1b[31m the customer", "--who", "ann")
    output = run("show", case_id).output
    assert "comments:" in output
    assert "asked\\x1b[31m the customer" in output
    shown = json.loads(run("show", case_id, "--json").output)
    assert shown["comments"][0]["who"] == "ann"
    assert run("verify", case_id).output == "the audit is as it was written\n"


def test_an_edit_is_tried_dry(run: Run, make: Make, sent: list[OutboxRow]) -> None:
    """The change is shown, nothing is sent."""
    output = run("edit", make(), "--args", '{"args":["b@example.org"]}', "--dry-run").output
    assert '+    "b@example.org"' in output
    assert sent == []


def test_an_export_is_for_programs_or_spreadsheets(run: Run, make: Make) -> None:
    """Every case on a line of its own; nothing in it is run by a terminal."""
    made = [make(error="\x1b[31mred"), make()]
    lines = [json.loads(line) for line in run("export").output.splitlines()]
    assert [line["id"] for line in lines] == made
    output = run("export", "--form", "csv").output
    assert "\x1b" not in output
    assert [row[0] for row in csv.reader(output.splitlines())] == ["id", *made]


def test_a_bulk_action_is_frozen_tried_and_run(run: Run, make: Make, sent: list[OutboxRow]) -> None:
    """Its outcomes are told, and in the exit code."""
    made = [make() for _ in range(3)]
    frozen = json.loads(run("bulk", "freeze", "retry", "--json").output)
    assert (frozen["total"], frozen["state"]) == (3, "ready")
    run("comment", made[1], "not this one", "--who", "bob")
    dry = json.loads(run("bulk", "dry-run", frozen["id"], "--json").output)
    assert [item["fate"] for item in dry["items"]] == ["waiting", "refused", "waiting"]
    assert sent == []
    ran = run("bulk", "run", frozen["id"], code=1)
    assert "1 refused, 2 under way" in ran.output
    assert len(sent) == 2
    shown = run("bulk", "show", frozen["id"], "--fate", "refused").output
    assert "not this one" in shown
    assert frozen["id"] in run("bulk", "list").output


def test_a_bulk_action_takes_ids_and_terms(run: Run, make: Make) -> None:
    """What makes no sense is refused before anything is frozen."""
    first, _second = make(), make()
    args = ("bulk", "freeze", "discard", "--case", first[:20], "--json")
    with pytest.raises(ActionRefused, match="a reason"):
        run(*args)
    frozen = json.loads(run(*args, "--reason", "old").output)
    assert frozen["total"] == 1
    run("bulk", "stop", frozen["id"], "--reason", "wait")
    with pytest.raises(ActionRefused, match="wait"):
        run("bulk", "run", frozen["id"])
    run("bulk", "resume", frozen["id"])
    run("bulk", "run", frozen["id"])
    assert len(run("list").output.splitlines()) == 2


class TestWithPeople:
    """The command line has no rules of its own."""

    @pytest.fixture
    def options(self) -> DeskOptions:
        """Two people, and a field that only one of them sees."""
        people = {
            "ann": Person(name="ann", role="admin"),
            "vic": Person(name="vic", role="viewer", queues=("emails",)),
        }
        return DeskOptions(people=people, jobs={"shop.mail": FieldRules(sensitive=("args.0",))})

    def test_names_have_rights(self, run: Run, make: Make) -> None:
        """Those of the config, for every command."""
        case_id = make()
        assert "a@example.org" in run("show", case_id, "--who", "ann").output
        hidden = run("show", case_id, "--who", "vic").output
        assert "a@example.org" not in hidden
        assert "[hidden]" in hidden
        with pytest.raises(NotAllowed, match="viewer"):
            run("retry", case_id, "--who", "vic")
        for command in ("list", "groups", "stats", "export"):
            with pytest.raises(NotAllowed, match="nobody"):
                run(command, "--who", "eve")
        with pytest.raises(NotAllowed, match="nobody"):
            run("bulk", "list", "--who", "eve")

    def test_people_are_shown(self, run: Run) -> None:
        """With their limits, and what the rest may do."""
        lines = run("people").output.splitlines()
        assert lines[2].split() == ["vic", "viewer", "emails", "all"]
        assert lines[3].split()[:2] == ["(others)", "nobody"]

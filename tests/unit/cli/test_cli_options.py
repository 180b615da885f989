"""The root's options before or behind a command, durations, and readers that make no store."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from rabbitjobs.cli.duration import DurationType
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.root import cli
from rabbitjobs.errors import StoreMissing

TOPOLOGY = "version: 1\nnamespace: shop\nqueues: {emails: {}}\n"
APP = "from rabbitjobs import RabbitJobs\napp = RabbitJobs()\n"


def run(*arguments: str) -> Result:
    """Run a command line to its end."""
    return CliRunner().invoke(cli, arguments)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a config that stands where nobody looks, and a store that is not there."""
    config = tmp_path / "elsewhere"
    config.mkdir()
    (config / "topology.yaml").write_text(TOPOLOGY)
    (config / "rabbitjobs.yaml").write_text(
        f"store: {{url: 'sqlite:///{tmp_path}/typo/store.db'}}\n"
        "broker: {url: 'amqp://ann:pw@127.0.0.1:1/shop'}\n"
    )
    monkeypatch.chdir(tmp_path)
    return config


def seen(*arguments: str) -> CliContext:
    """What a command in a group gets to see of the options."""
    found: list[CliContext] = []

    @click.command()
    @click.pass_obj
    def spy(obj: CliContext) -> None:
        found.append(obj)

    group = cli.get_command(click.Context(cli), "review")
    assert isinstance(group, click.Group)
    group.add_command(spy)
    try:
        ran = CliRunner().invoke(cli, arguments)
    finally:
        group.commands.pop("spy")
    assert ran.exit_code == 0, ran.output
    return found[0]


@pytest.mark.parametrize("place", [0, 1])
def test_the_roots_options_stand_on_either_side(place: int) -> None:
    """Before the command, or behind the group that it belongs to."""
    options = [
        "--app",
        "shop:app",
        "--config",
        "there",
        "--url",
        "amqp://h",
        "--log-level",
        "debug",
    ]
    words = ["review", "spy"]
    words[place:place] = options
    assert seen(*words) == CliContext("shop:app", Path("there"), "amqp://h", "debug")


def test_they_stand_behind_every_command_that_has_no_such_option_itself(folder: Path) -> None:
    """What ``--url`` means to ``store status`` stays what it says: the store's."""
    behind = run("topology", "plan", "--broker-version", "4.3", "--config", str(folder))
    assert "shop.q.emails" in behind.output
    assert (
        "shop.q.emails"
        in run(
            "topology", "--config", str(folder), "explain", "emails", "--broker-version", "4.3"
        ).output
    )
    doctor = run("doctor", "--json", "--config", str(folder), "--log-level", "error")
    assert "127.0.0.1:1" in doctor.output
    store = run("store", "status", "--config", str(folder), "--url", "sqlite:////nowhere/x.db")
    assert "/nowhere/x.db" in str(store.exception)


def test_the_one_behind_wins(folder: Path) -> None:
    """As a person who adds to the end of a line expects."""
    ran = run("--config", "nowhere", "doctor", "--json", "--config", str(folder))
    assert "127.0.0.1:1" in ran.output


def test_a_typing_error_is_still_refused() -> None:
    """With exit code 2, on either side."""
    assert run("doctor", "--log-level", "loud").exit_code == 2
    assert run("doctor", "--confog", "x").exit_code == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10s", 10), ("2m", 120), ("1h30m", 5400), ("10", 10), ("0.3", 0.3), ("0", 0)],
)
def test_a_grace_is_a_duration_or_a_number_of_seconds(text: str, expected: float) -> None:
    """As the config writes it; or as `kill` and `timeout` take it."""
    kind = DurationType(seconds=True)
    assert kind.convert(text, None, None) == timedelta(seconds=expected)


@pytest.mark.parametrize("text", ["-1", "nan", "inf", "1e400", "ten", "", "1.2.3", "²"])
def test_a_grace_that_is_none_is_refused(text: str) -> None:
    """Before anything runs."""
    for command in (["consume", "emails"], ["run"], ["intake"], ["notify", "run"]):
        ran = run(*command, f"--grace={text}")
        assert ran.exit_code == 2
        assert "expected a duration" in ran.output


def test_elsewhere_a_bare_number_stays_refused() -> None:
    """Its unit would be a guess."""
    with pytest.raises(click.BadParameter):
        DurationType().convert("5", None, None)


@pytest.mark.parametrize(
    "command",
    [
        ["result", "some-id"],
        ["result", "some-id", "--wait", "200ms"],
        ["review", "list"],
        ["review", "show", "some-case"],
        ["review", "stats"],
        ["store", "status"],
        ["store", "clean"],
    ],
)
def test_a_reader_makes_no_store(folder: Path, command: list[str]) -> None:
    """A mistyped path is said, not filled with an empty database that says "unknown"."""
    ran = run("--config", str(folder), *command)
    assert isinstance(ran.exception, StoreMissing)
    assert "typo/store.db" in str(ran.exception)
    assert "rabbitjobs store migrate" in str(ran.exception)
    assert not (folder.parent / "typo").exists()


def test_doctor_says_that_there_is_no_store(folder: Path) -> None:
    """A warning, because the first worker makes it; and doctor makes none."""
    checks = json.loads(run("--config", str(folder), "doctor", "--json").output)
    (check,) = [one for one in checks if one["name"] == "store"]
    assert check["state"] == "warn"
    assert "no such file" in check["text"]
    assert not (folder.parent / "typo").exists()


def test_migrate_makes_it(folder: Path) -> None:
    """And then the readers read."""
    assert run("store", "migrate", "--config", str(folder)).exit_code == 0
    assert run("store", "status", "--config", str(folder)).exit_code == 0
    assert run("result", "some-id", "--config", str(folder)).exit_code == 3

"""The guides on results and review say what is true: their programs run, their commands parse."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from sqlalchemy import create_engine, text

from rabbitjobs.cli.review import review
from rabbitjobs.cli.store import store as store_group
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.message.properties import Properties
from rabbitjobs.policy.decision import Failure
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.settings import load
from rabbitjobs.store.engine import Store
from rabbitjobs.store.outbox import Outbox, OutboxRow

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
PROGRAM = re.compile(r"<!-- test: (\w+) -->\n```python\n(.*?)```", re.DOTALL)
COMMAND = re.compile(r"^\$ rabbitjobs (review|store) (.*)$", re.MULTILINE)
PROGRAMS = {
    name: code
    for guide in ("results-and-store.md", "human-review.md")
    for name, code in PROGRAM.findall((GUIDES / guide).read_text())
}
COMMANDS = [
    (group, line)
    for guide in ("results-and-store.md", "human-review.md")
    for group, line in COMMAND.findall((GUIDES / guide).read_text())
]


@pytest.fixture
def store_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store of the reader who tries a program."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    monkeypatch.setenv("RABBITJOBS_STORE_URL", url)
    monkeypatch.chdir(tmp_path)
    return url


def run(name: str) -> dict[str, object]:
    """Run a program of the guides as a file of its own."""
    module = ModuleType(f"guide_{name}")
    sys.modules[module.__name__] = module
    exec(compile(PROGRAMS[name], name, "exec"), module.__dict__)
    return module.__dict__


def close(names: dict[str, object]) -> None:
    names["app"].close()  # type: ignore[attr-defined]


def test_an_unknown_id_is_unknown(store_url: str) -> None:
    """As the guide says."""
    close(run("read"))


def test_a_send_in_a_transaction_waits_in_the_outbox(store_url: str) -> None:
    """With the user's own row, in one commit."""
    store = Store(store_url, namespace="shop")
    store.migrate()
    engine = create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    engine.dispose()
    names = run("outbox")
    (row,) = Outbox(store).take()
    assert (row.envelope.job, row.queue) == ("guide_outbox.confirm", "default")
    store.close()
    names["engine"].dispose()  # type: ignore[attr-defined]
    close(names)


def test_the_desk_from_python(
    store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop that retries what failed in one way."""
    store = Store(store_url, namespace="shop")
    sent: list[OutboxRow] = []
    jobs = ModuleType("shop.jobs")
    jobs.app = ModuleType("app")  # type: ignore[attr-defined]
    jobs.app.desk = Desk(store, sent.append, lambda _job, _body: None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.jobs", jobs)
    envelope = Envelope(id="j", job="shop.mail", queue="emails", body=b'{"args":[1],"kwargs":{}}')
    failure = Failure(kind="error", error_type="smtplib.SMTPDataError", error="mailbox full")
    take_in(
        store,
        FailedMessage(
            envelope=envelope,
            failure=failure,
            raw=envelope.body,
            properties=Properties(),
            reason="review",
        ),
    )
    run("desk")
    assert len(sent) == 1
    assert "shop.mail 1 mailbox full {'args': [1], 'kwargs': {}}" in capsys.readouterr().out
    store.close()


def test_a_bulk_action_from_python(
    store_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole group of one cause is frozen and run."""
    store = Store(store_url, namespace="shop")
    sent: list[OutboxRow] = []
    desk = Desk(store, sent.append, lambda _job, _body: None)
    for number in range(3):
        envelope = Envelope(id=f"j{number}", job="shop.mail", queue="emails", body=b"{}")
        failure = Failure(kind="error", error_type="E", error="mailbox full")
        message = FailedMessage(
            envelope=envelope, failure=failure, raw=b"{}", properties=Properties(), reason="review"
        )
        take_in(store, message)
    jobs = ModuleType("shop.jobs")
    jobs.app = ModuleType("app")  # type: ignore[attr-defined]
    jobs.app.desk = desk  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "shop", ModuleType("shop"))
    monkeypatch.setitem(sys.modules, "shop.jobs", jobs)
    run("bulk")
    assert len(sent) == 3
    assert "3 cases" in capsys.readouterr().out
    store.close()


def test_the_config_of_the_guide_is_one(tmp_path: Path) -> None:
    """Every key in it is known, and its values fit."""
    (block,) = re.findall(
        r"```yaml\n(# config/rabbitjobs.yaml\nreview:.*?)```",
        (GUIDES / "human-review.md").read_text(),
        re.DOTALL,
    )
    (tmp_path / "rabbitjobs.yaml").write_text(block)
    found = load(tmp_path, {}).review
    assert found is not None
    assert found.person("bob").queues == ("emails",)
    assert found.deadline_of("emails") != found.deadline_of("reports")


def test_a_job_that_needs_approval(store_url: str) -> None:
    """As the guide registers it."""
    names = run("approval")
    job = names["pay_back"]
    assert job.definition.needs_approval  # type: ignore[attr-defined]
    close(names)


@pytest.mark.parametrize(("group", "line"), COMMANDS)
def test_every_command_of_the_guides_parses(group: str, line: str) -> None:
    """Each names a command and options that exist."""
    parent: click.Group = {"review": review, "store": store_group}[group]
    name, *arguments = shlex.split(line, comments=True)
    command = parent.commands[name]
    while isinstance(command, click.Group):
        name, *arguments = arguments
        command = command.commands[name]
    with command.make_context(name, arguments) as context:
        assert context.command is command

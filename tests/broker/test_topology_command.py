"""`rabbitjobs topology` from a shell, on a real broker."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from rabbitjobs.broker.management import management_of
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.cli.root import cli
from rabbitjobs.errors import ConfigError, TopologyRefused, Unroutable

SHOP = """version: 1
namespace: shop
retry: {quick: {delays: [200ms]}}
queues:
  주문: {retry: quick, max_length: 10}
"""


class Shell:
    """Runs commands on one vhost with one config file."""

    def __init__(self, folder: Path, url: str, management_url: str) -> None:
        self.file = folder / "topology.yaml"
        self.file.write_text(SHOP, encoding="utf-8")
        self._where = ("--config", str(self.file), "--url", url, "--management-url", management_url)

    def run(self, *command: str) -> Result:
        """One command under `rabbitjobs topology`."""
        name, *rest = command
        return CliRunner().invoke(cli, ["topology", name, *self._where, *rest])


@pytest.fixture
def shell(tmp_path: Path, broker_url: str, management_url: str) -> Shell:
    """A shell with an empty vhost."""
    return Shell(tmp_path, broker_url, management_url)


def test_plan_apply_plan_drift(shell: Shell) -> None:
    """Exit 2 says that something would change, 0 that nothing would."""
    planned = shell.run("plan")
    assert planned.exit_code == 2, planned.output
    assert "shop.q.주문" in planned.output
    assert "would change" in planned.output
    assert "shop.delay.03" not in planned.output
    assert re.search(r"create +delay levels +shop\.delay\.\* +28 policies, ", planned.output)
    assert "shop.delay.03" in shell.run("plan", "--full").output
    assert shell.run("drift").exit_code == 2
    applied = shell.run("apply")
    assert applied.exit_code == 0, applied.output
    for command in ("plan", "drift", "apply"):
        again = shell.run(command)
        assert again.exit_code == 0, again.output
    assert "0 differ, 0 left over" in shell.run("drift").output


def test_plan_names_what_another_config_has_left_in_the_namespace(shell: Shell) -> None:
    """Two teams with one namespace see it before they apply."""
    shell.run("apply")
    shell.file.write_text(SHOP.replace("주문", "mails"), encoding="utf-8")
    planned = shell.run("plan")
    assert "left over, of another config or an older one: queue shop.landing.주문" in planned.output
    assert "rabbitjobs topology drift" in planned.output
    assert "left over" not in shell.run("plan", "--broker-version", "4.3").output


def test_plan_shows_replace_and_apply_refuses_it(shell: Shell) -> None:
    """With what to do, and nothing done."""
    shell.run("apply")
    shell.file.write_text(SHOP.replace("max_length: 10", "ordered: true"), encoding="utf-8")
    planned = shell.run("plan")
    assert planned.exit_code == 2
    assert "replace" in planned.output
    assert "let the queue run empty" in planned.output
    assert isinstance(shell.run("apply").exception, TopologyRefused)


def test_a_bad_config_shows_every_fault_and_declares_nothing(
    shell: Shell, broker_url: str, management_url: str
) -> None:
    """All of them, with file and line."""
    shell.file.write_text("version: 1\nqueues:\n  a*: {retry: x}\nodd: 1\n", encoding="utf-8")
    error = shell.run("apply").exception
    assert isinstance(error, ConfigError)
    assert [problem.line for problem in error.problems] == [3, 3, 4]
    address = parse_urls(broker_url)[0]
    with management_of(address, management_url) as management:
        assert management.queues(address.vhost) == []


def test_explain_and_draw(shell: Shell, tmp_path: Path) -> None:
    """In words, as a table, as Mermaid and as SVG."""
    explained = shell.run("explain", "주문")
    assert explained.exit_code == 0, explained.output
    assert "shop.landing.주문" in explained.output
    nobody = shell.run("explain", "nope")
    assert isinstance(nobody.exception, Unroutable)
    assert nobody.output == ""
    assert "shop.q.주문" in shell.run("draw").output
    assert shell.run("draw", "--format", "mermaid").output.startswith("flowchart LR")
    picture = tmp_path / "shop.svg"
    shell.run("draw", "--format", "svg", "--output", str(picture))
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_explain_needs_no_broker(shell: Shell) -> None:
    """Asked for a version, or with none at hand."""
    old = CliRunner().invoke(
        cli,
        ["topology", "explain", "주문", "--config", str(shell.file), "--broker-version", "3.10.8"],
    )
    assert "on RabbitMQ 3.10.8" in old.output
    gone = CliRunner().invoke(
        cli,
        ["topology", "draw", "--config", str(shell.file), "--url", "amqp://127.0.0.1:1"],
    )
    assert gone.exit_code == 0
    assert "no broker asked" in gone.output


def test_permissions_are_printed(shell: Shell) -> None:
    """Ready to be granted by hand; granting to nobody is refused."""
    printed = shell.run("permissions").output
    assert r"^shop\.(jobs|delay)$" in printed
    refused = shell.run("permissions", "--apply", "--user", "worker=nobody-of-that-name")
    assert isinstance(refused.exception, TopologyRefused)

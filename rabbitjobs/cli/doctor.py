"""``rabbitjobs doctor``: what is well, what is not, and what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from rabbitjobs.cli import reaching
from rabbitjobs.cli.options import CliContext
from rabbitjobs.cli.table import show
from rabbitjobs.errors import BrokerError
from rabbitjobs.monitor.doctor import Check, diagnose, worst
from rabbitjobs.monitor.facts import BrokerFacts, look_at_store
from rabbitjobs.monitor.logs import escape_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For scripts: a list of checks.")
@click.option("--strict", is_flag=True, help="Exit 1 for warnings too.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["topology", "publisher", "worker", "reviewer"]),
    help="What this user is for (may be given several times); else what it comes nearest to.",
)
@click.pass_obj
def doctor(obj: CliContext, as_json: bool, strict: bool, roles: tuple[str, ...]) -> None:
    """Check broker, store, topology and rights. Exit 0: well, or warnings only; 1: a fault."""
    try:
        broker = reaching.facts(obj, rights=True)
    except BrokerError as error:  # no URL at all, or one that is refused
        broker = BrokerFacts(address="", error=error.text)
    spec, store = obj.spec(), look_at_store(obj.app().parts.store)
    checks = diagnose(spec, broker, store, obj.app().registry.hard_limits(), roles)
    if as_json:
        plain = [asdict(check) for check in checks]
        click.echo(escape_json(json.dumps(plain, ensure_ascii=False, indent=2)))
    else:
        _show(checks)
    state = worst(checks)
    sys.exit(1 if state == "fail" or (strict and state == "warn") else 0)


def _show(checks: list[Check]) -> None:
    rows = [(check.state, check.name, _said(check)) for check in checks]
    show(("state", "check", "what was found"), rows)
    counts = {state: sum(check.state == state for check in checks) for state in ("warn", "fail")}
    click.echo(f"\n{len(checks)} checks, {counts['warn']} warnings, {counts['fail']} faults")


def _said(check: Check) -> str:
    return f"{check.text}; do: {check.do}" if check.do else check.text

"""``rabbitjobs topology``: what stands on the broker, and what should."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from rabbitjobs.broker.management import Management
from rabbitjobs.broker.version import REFERENCE, Capabilities, from_version
from rabbitjobs.cli import reaching
from rabbitjobs.cli.changes import print_changes, print_left_over
from rabbitjobs.cli.options import CliContext
from rabbitjobs.errors import BrokerError, ManagementError, TopologyRefused
from rabbitjobs.monitor.logs import escape
from rabbitjobs.topology.diff import diff
from rabbitjobs.topology.live import Live, read_live
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.plan import Plan, compile_plan

DIFFERENT: Final = 2
_F = TypeVar("_F", bound=Callable[..., Any])


def _common(command: _F) -> _F:
    """The options that stand at the root too, for those who put them behind the command."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            help="The topology's file, or the config folder; else as the root says.",
        ),
        click.option("--url", metavar="AMQP_URL", help="The broker's URL; else as the root says."),
        click.option("--management-url", metavar="URL", envvar="RABBITJOBS_MANAGEMENT_URL"),
    ):
        command = option(command)
    return command


def _version_option(command: _F) -> _F:
    return click.option(
        "--broker-version",
        metavar="4.3",
        help="Ask no broker: say what would stand on an empty one of this version.",
    )(command)


class _Call:
    """One command's surroundings: the config, the broker, its management API."""

    def __init__(
        self, obj: CliContext, config: Path | None, url: str | None, management_url: str | None
    ) -> None:
        # Pika tells of each refusal that we translate anyway.
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        self._file = config if config and config.is_file() else None
        self.obj = replace(obj, config=config or obj.config, url=url or obj.url)
        self._management_url = management_url

    def spec(self) -> TopologySpec:
        if self._file is None:
            spec = self.obj.spec()
            if not spec.file:
                queues = ", ".join(spec.queues)
                click.echo(
                    f"no config/topology.yaml: namespace {spec.namespace}, queue {queues}, as the "
                    "app's jobs say (or the defaults, without an app)",
                    err=True,
                )
            return spec
        from rabbitjobs.topology.config import load

        return load(self._file)

    def url(self) -> str:
        return self.obj.broker_url()

    def management(self) -> Management | None:
        if self._management_url is None:
            return reaching.management(self.obj)
        from rabbitjobs.broker.management import management_of

        return management_of(reaching.addresses(self.obj)[0], self._management_url)

    @contextmanager
    def answering(self) -> Iterator[Management | None]:
        """The management API if it can be reached; a refusal (401, 403) is still an error."""
        found = self.management()
        with _closing(found):
            try:
                if found is not None:
                    found.overview()
            except ManagementError as error:
                if error.status:
                    raise
                click.echo(f"without the management API: {escape(str(error))}", err=True)
                found = None
            yield found

    def capabilities(self, version: str | None) -> Capabilities:
        if version is not None:
            return from_version(version)
        from rabbitjobs.topology.amqp import connect

        with connect(self.url()) as amqp:
            return amqp.capabilities

    def plan(self, version: str | None = None) -> Plan:
        """Compile for the connected broker; raises `BrokerError` when there is none."""
        return compile_plan(self.spec(), self.capabilities(version))

    def plan_anyway(self, version: str | None) -> Plan:
        """Compile for the connected broker, or for the reference version if none answers."""
        spec = self.spec()
        try:
            there = self.capabilities(version)
        except BrokerError as error:
            there = REFERENCE
            click.echo(
                f"no broker asked ({escape(str(error))}): as on RabbitMQ {there.generation}",
                err=True,
            )
        return compile_plan(spec, there)


@click.group()
def topology() -> None:
    """Plan, apply, compare, explain and draw what stands on the broker."""


@topology.command()
@_common
@_version_option
@click.option("--full", is_flag=True, help="List each object of the delay ladder too.")
@click.pass_obj
def plan(obj: CliContext, /, broker_version: str | None, full: bool, **options: Any) -> None:
    """Show what apply would change. Exit 2 when there is something."""
    call = _Call(obj, **options)
    wanted = call.plan(broker_version)
    left: Sequence[str] = ()
    if broker_version is not None:
        changes = diff(wanted, Live(exchanges={}, queues={}))
    else:
        from rabbitjobs.topology.apply import plan_changes
        from rabbitjobs.topology.drift import left_over

        with call.answering() as management:
            changes = plan_changes(wanted, amqp_url=call.url(), management=management)
            if management is not None:
                live = read_live(management, reaching.addresses(call.obj)[0].vhost)
                left = [finding.name for finding in left_over(wanted, live)]
    print_changes(changes, wanted.spec.namespace, "would change", full=full)
    print_left_over(left)
    if changes.refused:
        click.echo(f"{len(changes.refused)} of them apply refuses.")
    raise SystemExit(DIFFERENT if changes else 0)


@topology.command("apply")
@_common
@click.option(
    "--without-policies",
    is_flag=True,
    help="Go on without the management API: no delivery limits, lengths and lifetimes.",
)
@click.pass_obj
def apply_(obj: CliContext, /, without_policies: bool, **options: Any) -> None:
    """Make the broker hold what the config says; idempotent. Refuses before it does half of it."""
    from rabbitjobs.topology.apply import apply

    call = _Call(obj, **options)
    wanted = call.plan()
    with call.answering() as management:
        changes = apply(
            wanted,
            amqp_url=call.url(),
            management=management,
            without_policies=without_policies,
        )
    print_changes(changes, wanted.spec.namespace, "changed")


@topology.command()
@_common
@click.pass_obj
def drift(obj: CliContext, /, **options: Any) -> None:
    """Compare the config with the live broker. Exit 2 when a guarantee may not hold."""
    from rabbitjobs.topology.drift import find_drift

    call = _Call(obj, **options)
    wanted = call.plan()
    with _closing(call.management()) as management:
        if management is None:
            raise TopologyRefused(
                "expected a management API to compare with, got none; set "
                "RABBITJOBS_MANAGEMENT_URL (https, or loopback)"
            )
        live = read_live(management, reaching.addresses(call.obj)[0].vhost, totals=True)
    found = find_drift(wanted, live)
    for finding in found:
        click.echo(escape(str(finding)))
    differs = sum(finding.kind == "differs" for finding in found)
    click.echo(f"{differs} differ, {len(found) - differs} left over")
    raise SystemExit(DIFFERENT if differs else 0)


@topology.command()
@click.argument("queue")
@_common
@_version_option
@click.pass_obj
def explain(obj: CliContext, /, queue: str, broker_version: str | None, **options: Any) -> None:
    """Say in words what happens to a message on QUEUE (its name in the config), in every case."""
    import textwrap

    from rabbitjobs.topology.explain import explain as explained

    call = _Call(obj, **options)
    compiled = call.plan_anyway(broker_version)
    cases = explained(compiled, queue)
    click.echo(f"Queue {escape(queue)} on RabbitMQ {compiled.capabilities.version}\n")
    for case in cases:
        click.echo(escape(case.name))
        text = textwrap.fill(
            escape(case.text), 92, initial_indent="    ", subsequent_indent="    ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        click.echo(text)


@topology.command()
@_common
@_version_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "mermaid", "svg"]),
    default="table",
    show_default=True,
)
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Else to stdout.")
@click.pass_obj
def draw(
    obj: CliContext, /, broker_version: str | None, form: str, output: Path | None, **options: Any
) -> None:
    """Draw the topology as a table for the terminal, as Mermaid or as SVG."""
    compiled = _Call(obj, **options).plan_anyway(broker_version)
    text = _drawn(compiled, form)
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


@topology.command()
@_common
@click.option("--apply", "granting", is_flag=True, help="Grant them; needs an administrator.")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="ROLE=NAME",
    help="Who gets a role with --apply; else <namespace>-<role>, for all but operator. An account "
    "that is named for several roles gets the rights of all.",
)
@click.option(
    "--replace",
    is_flag=True,
    help="Take away what an account has beyond the roles named for it; else that is refused.",
)
@click.pass_obj
def permissions(
    obj: CliContext,
    /,
    granting: bool,
    users: tuple[str, ...],
    replace: bool,
    **options: Any,
) -> None:
    """Show the least that each role needs on the broker, and grant it with --apply."""
    from rabbitjobs.topology.permissions import roles

    call = _Call(obj, **options)
    spec = call.spec()
    if granting:
        _grant(call, spec, users, replace=replace)
        return
    for role in roles(spec):
        click.echo(f"{role.name}: {role.purpose}")
        for right in ("configure", "write", "read"):
            click.echo(f"  {right:<10}{escape(getattr(role, right))}")
        if role.tags:
            click.echo(f"  {'tags':<10}{', '.join(role.tags)}")
    click.echo("\nGrant them with: rabbitjobs topology permissions --apply [--user ROLE=NAME]")


def _grant(call: _Call, spec: TopologySpec, users: tuple[str, ...], *, replace: bool) -> None:
    from rabbitjobs.topology.granting import grant
    from rabbitjobs.topology.permissions import roles

    usual = tuple(
        f"{role.name}={spec.namespace}-{role.name}"
        for role in roles(spec)
        if role.name != "operator"
    )
    who: dict[str, list[str]] = {}
    for user in dict.fromkeys(users or usual):
        role, _, name = user.partition("=")
        if not role or not name:
            raise click.UsageError(f"expected --user ROLE=NAME, got --user {escape(user)}")
        who.setdefault(name, []).append(role)
    with _closing(call.management()) as management:
        if management is None:
            raise TopologyRefused(
                "expected a management API to grant with, got none; set RABBITJOBS_MANAGEMENT_URL"
            )
        vhost = reaching.addresses(call.obj)[0].vhost
        for line in grant(management, vhost, spec, who, replace=replace):
            click.echo(escape(line))


def _drawn(compiled: Plan, form: str) -> str:
    from rabbitjobs.topology import draw as drawing
    from rabbitjobs.topology.svg import svg

    match form:
        case "mermaid":
            return drawing.mermaid(drawing.graph(compiled))
        case "svg":
            return svg(drawing.graph(compiled), title=f"Topology of {compiled.spec.namespace}")
        case _:
            return escape(drawing.table(compiled), keep="\n")


def _closing(management: Management | None) -> Any:
    return closing(management) if management is not None else nullcontext()

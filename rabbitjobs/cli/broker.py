"""``rabbitjobs broker start|stop|status|url``: the user's private RabbitMQ node."""

from __future__ import annotations

import sys

import click

from rabbitjobs.broker.layout import HOST, USER
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.state import node_folder, running_node, user_node


@click.group()
def broker() -> None:
    """Run a private RabbitMQ node on this machine.

    It listens on the loopback address only, under a random password, and keeps
    its messages over stop and start. Where no broker URL is set, every
    rabbitjobs command and app uses it while it runs.
    """


@broker.command()
def start() -> None:
    """Start the node (its first start on a machine may install RabbitMQ)."""
    node = user_node(report=lambda line: click.echo(line, err=True))
    said = "runs already" if node.running else "started"
    node.start()
    click.echo(f"{said}: {_description(node)}")


@broker.command()
def stop() -> None:
    """Stop the node; its messages stay on disk for the next start."""
    node = running_node()
    if node is None:
        click.echo("does not run")
        return
    node.stop()
    click.echo("stopped; its messages stay on disk")


@broker.command()
def status() -> None:
    """Say whether the node runs. Exit 0: it answers; 3: it does not run; 4: it does not answer."""
    node = running_node()
    if node is None:
        click.echo("does not run")
        sys.exit(3)
    if not node.ready:
        click.echo(f"runs, but does not answer: {_description(node)}; see {node.folder / 'log'}")
        sys.exit(4)
    click.echo(f"runs: {_description(node)}")


@broker.command()
@click.option("--management", is_flag=True, help="The URL of the management page and API instead.")
def url(management: bool) -> None:
    """Print the node's URL, WITH its password: export RABBITJOBS_URL=$(rabbitjobs broker url)."""
    node = running_node()
    if node is None:
        click.echo("does not run; `rabbitjobs broker start` starts it", err=True)
        sys.exit(3)
    click.echo(node.management_url if management else node.url)


def _description(node: Node) -> str:
    ports = node.ports
    return (
        f"RabbitMQ {node.version} on {HOST}:{ports.amqp}, management on port {ports.management}, "
        f"user {USER}, data in {node_folder()}"
    )

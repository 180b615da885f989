"""The user's own private node: one for each user, found again by later commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabbitjobs.broker.install import Report
    from rabbitjobs.broker.node import Node


def node_folder() -> Path:
    """Where the user's private node keeps its data: ``$XDG_STATE_HOME/rabbitjobs/node``."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "rabbitjobs" / "node"


def user_node(*, report: Report = lambda _line: None) -> Node:
    """The user's private node, whether it runs or not; it outlives the process that starts it.

    The first call on a machine may install RabbitMQ: ``report`` gets a line for
    each slow step. Raises ``NodeError`` when no RabbitMQ can be had.
    """
    # Every process that looks whether a node runs comes here, and most machines have none.
    from rabbitjobs.broker.node import Node

    return Node(node_folder(), outlive=True, report=report)


def running_node() -> Node | None:
    """The user's private node if it runs; nothing is installed or written."""
    if not (node_folder() / "node.json").exists():
        return None
    node = user_node()
    return node if node.running else None


def running_url() -> str | None:
    """The AMQP URL of the user's private node, or None when it does not run."""
    node = running_node()
    return node.url if node else None


def running_management_url(url: str) -> str | None:
    """The management API of the user's private node, if ``url`` leads to that node.

    None when it does not run or ``url`` is another broker's. The answer has the
    password in it.
    """
    node = running_node()
    if node is None or _server(node.url) != _server(url):
        return None
    return node.management_url


def _server(url: str) -> str:
    return url.partition("://")[2].partition("?")[0].partition("/")[0]

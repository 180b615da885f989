"""The user's own private node: one for each user, found again by later commands."""

from __future__ import annotations

import os
from pathlib import Path

from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls


def node_folder() -> Path:
    """Where the user's private node keeps its data: ``$XDG_STATE_HOME/rabbitjobs/node``."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "rabbitjobs" / "node"


def user_node() -> Node:
    """The user's private node, whether it runs or not; it outlives the process that starts it."""
    return Node(node_folder(), outlive=True)


def running_url() -> str | None:
    """The AMQP URL of the user's private node, or None when it does not run."""
    if not (node_folder() / "node.json").exists():
        return None
    node = Node(node_folder(), outlive=True)
    return node.url if node.running else None


def running_management_url(amqp_url: str) -> str | None:
    """Where the management API is, if ``amqp_url`` is that of the user's running private node."""
    if not (node_folder() / "node.json").exists():
        return None
    node = Node(node_folder(), outlive=True)
    # Any vhost of it: host and port tell.
    same = parse_urls(node.url)[0].port == parse_urls(amqp_url)[0].port
    return node.management_url if same and node.running else None

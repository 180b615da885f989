"""A shop whose five roles are five users, each with what `topology permissions` grants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from click.testing import CliRunner, Result

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.management import Management
from rabbitjobs.broker.node import Node
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.cli.root import cli
from rabbitjobs.clock import uuid7
from rabbitjobs.secret import Secret

ROLES = ("topology", "publisher", "worker", "reviewer", "operator")
TOPOLOGY = """
version: 1
namespace: shop
retry: {quick: {delays: [200ms]}}
delays: {longest: 15m}
queues:
  emails:
    retry: quick
    on:
      - {error: KeyError, do: ignore}
      - {error: LookupError, do: notify, then: review}
  urgent: {priorities: [normal, high], accept: [classic-queue, two-priorities]}
  orders: {review: own}
  small: {max_length: 10}
"""
SETTINGS = """
broker: {url: "%s", management_url: "%s"}
store: {url: "sqlite:///%s/store.db"}
"""
PASSWORD = "secret"
PATIENCE = 60.0


@dataclass
class RoleShop:
    """One vhost, one store, and an app for each user, made at first use."""

    folder: Path
    node: Node
    vhost: str
    management: Management
    users: dict[str, str]
    apps: dict[str, RabbitJobs] = field(default_factory=dict)

    def url(self, role: str) -> str:
        """The broker's URL for a role's user."""
        _, _, place = self.node.vhost_url(self.vhost).rpartition("@")
        return f"amqp://{self.users[role]}:{PASSWORD}@{place}"

    @property
    def plain_management(self) -> str:
        """The management API without a user: each asks as itself."""
        parts = urlsplit(self.node.management_url)
        return f"{parts.scheme}://{parts.hostname}:{parts.port}"

    def config(self, role: str) -> Path:
        """The config folder of a role."""
        folder = self.folder / role
        if not folder.exists():
            folder.mkdir()
            (folder / "topology.yaml").write_text(TOPOLOGY)
            text = SETTINGS % (self.url(role), self.plain_management, self.folder)
            (folder / "rabbitjobs.yaml").write_text(text)
        return folder

    def app(self, role: str) -> RabbitJobs:
        """The app of a role's processes."""
        if role not in self.apps:
            self.apps[role] = RabbitJobs(config=self.config(role))
        return self.apps[role]

    def command(self, role: str, *arguments: str) -> Result:
        """Run a command as a role."""
        return CliRunner().invoke(cli, ["--config", str(self.config(role)), *arguments])

    def total(self, name: str) -> int:
        """The exact number of messages in one of the namespace's queues."""
        return self.node.messages_total(self.vhost, f"shop.{name}")

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until something holds; it may block."""
        async with asyncio.timeout(PATIENCE):
            while not await asyncio.to_thread(condition):
                await asyncio.sleep(0.05)


@contextmanager
def role_shop(node: Node, folder: Path) -> Iterator[RoleShop]:
    """Grant by the command, as an administrator; apply by the command, as the topology user."""
    vhost = parse_urls(node.create_vhost())[0].vhost
    with Management(node.management_url) as management:
        users = {role: f"{role}-{uuid7()}" for role in ROLES}
        shop = RoleShop(folder, node, vhost, management, users)
        for user in users.values():
            management.put_user(user, password=Secret(PASSWORD))
        try:
            _grant(shop)
            applied = shop.command("topology", "topology", "apply")
            assert applied.exit_code == 0, applied.output
            yield shop
        finally:
            for app in shop.apps.values():
                app.close()
            for user in users.values():
                management.delete_user(user)
            node.delete_vhost(vhost)


def _grant(shop: RoleShop) -> None:
    named = [part for role, user in shop.users.items() for part in ("--user", f"{role}={user}")]
    ran = CliRunner().invoke(
        cli,
        [
            *("--config", str(shop.config("topology")), "topology", "permissions"),
            *("--url", shop.node.vhost_url(shop.vhost), "--apply", *named),
            *("--management-url", shop.node.management_url),
        ],
    )
    assert ran.exit_code == 0, ran.output

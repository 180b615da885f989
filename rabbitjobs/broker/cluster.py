"""Three private RabbitMQ nodes as one cluster on the loopback address: for tests of what breaks."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import msgspec

from rabbitjobs.broker.install import Report, provide
from rabbitjobs.broker.layout import Identity, free_ports, new_identity
from rabbitjobs.broker.local import LocalRunner
from rabbitjobs.broker.node import Node
from rabbitjobs.errors import NodeError

SIZE = 3
JOIN_SECONDS = 20.0


class Cluster:
    """A cluster of three temporary nodes with one cookie, one password and one epmd.

    ``version`` and ``settings`` are as for a ``Node``. Its nodes are stopped, killed and
    paused one by one: ``nodes``. As a context manager it is started on entry; on exit all of it
    is killed and removed. Blocking calls. Raises ``NodeError`` where only a container engine can
    run a node.
    """

    def __init__(
        self,
        *,
        version: str | None = None,
        settings: Mapping[str, str] | None = None,
        report: Report = lambda _line: None,
    ) -> None:
        installation = provide(version, report=report)
        if installation.kind == "image":
            raise NodeError(
                "expected a RabbitMQ of this machine for a cluster, got a container image; "
                "install rabbitmq-server"
            )
        self.folder = Path(f"{tempfile.gettempdir()}/rabbitjobs-cluster-{secrets.token_hex(6)}")
        identities = _identities()
        known = {
            f"cluster_formation.classic_config.nodes.{number}": identity.nodename
            for number, identity in enumerate(identities, 1)
        }
        discovery = {"cluster_formation.peer_discovery_backend": "classic_config", **known}
        self.nodes: Sequence[Node] = [
            Node(
                self.folder / identity.name,
                version=version,
                settings={**discovery, **(settings or {})},
                identity=identity,
            )
            for identity in identities
        ]
        self._epmd = LocalRunner(installation, self.folder / "epmd", identities[0])
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The AMQP URLs of the default vhost on every node, with the password: do not print."""
        return self.vhost_url("/")

    def vhost_url(self, name: str) -> str:
        """The AMQP URLs of a vhost, one for each node, separated by commas."""
        return ",".join(node.vhost_url(name) for node in self.nodes)

    def start(self) -> Self:
        """Start every node that does not run, and return when all are members."""
        if self._guard is None:
            (self.folder / "epmd" / "log").mkdir(parents=True)
            self._epmd.launch_epmd()
            self._guard = _guard(f"{self._epmd.last_resort()}; sleep 1; rm -rf -- '{self.folder}'")
        self._each(Node.start)
        self._each(_wait_members)
        return self

    def kill(self) -> None:
        """End every node with SIGKILL at the same time; ``start`` brings them back."""
        self._each(Node.kill)

    def leader(self, vhost: str, queue: str) -> Node:
        """The node that leads a quorum queue now; raises ``NodeError`` when none does."""
        asked = next(node for node in self.nodes if node.running)
        found = asked.rabbitmqctl(
            "-p", vhost, "list_queues", "name", "leader", "--no-table-headers", "--quiet"
        )
        leaders = dict(line.split() for line in found.splitlines() if len(line.split()) == 2)
        for node in self.nodes:
            if node.name == leaders.get(queue):
                return node
        raise NodeError(f"expected a leader of the queue, got {leaders.get(queue)}", queue=queue)

    def cut_off(self, node: Node) -> None:
        """Part one node from the others: they refuse each other's cookie, so no packet passes."""
        # A cookie of its own on each side: the same wrong one would be a right one.
        self._ask_pairs(
            node, "erlang:set_cookie('{other}', '{one}'), erlang:disconnect_node('{other}')"
        )

    def rejoin(self, node: Node) -> None:
        """End the parting: the nodes find each other again by themselves."""
        self._ask_pairs(node, "erlang:set_cookie('{other}', erlang:get_cookie())")
        self._ask_pairs(node, "net_kernel:connect_node('{other}')")

    def close(self) -> None:
        """Kill everything and remove it."""
        self._each(Node.kill)
        self._epmd.clear()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask_pairs(self, node: Node, order: str) -> None:
        """Give ``order`` to both sides of each pair that ``node`` is part of, all at once."""

        def ask(one: Node) -> None:
            others = [other for other in self.nodes if other is not one and node in (one, other)]
            orders = [order.format(one=one.name, other=other.name) for other in others]
            one.ask(f"{', '.join(orders)}.")

        self._each(ask)

    def _each(self, act: Callable[[Node], object]) -> None:
        with ThreadPoolExecutor(SIZE) as pool:
            list(pool.map(act, self.nodes))


def _wait_members(node: Node) -> None:
    deadline = time.monotonic() + JOIN_SECONDS
    while (members := node.ask("length([node() | nodes()]).")) != str(SIZE):
        if time.monotonic() > deadline:
            raise NodeError(f"expected {SIZE} running members, {node} sees {members}")
        time.sleep(0.1)


def _identities() -> list[Identity]:
    """As many identities that differ in name and ports only, all on one epmd."""
    first = new_identity()
    ports = free_ports(3 * SIZE)
    return [
        msgspec.structs.replace(
            first,
            name=f"rabbitjobs{number + 1}",
            amqp_port=ports[3 * number],
            http_port=ports[3 * number + 1],
            dist_port=ports[3 * number + 2],
            own_epmd=False,
        )
        for number in range(SIZE)
    ]


def _guard(last_resort: str) -> subprocess.Popen[bytes]:
    """A shell that waits for our end, whatever it is."""
    return subprocess.Popen(
        ["sh", "-c", f"read -r _ ; {last_resort}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

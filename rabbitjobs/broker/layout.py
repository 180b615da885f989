"""Where a private node keeps its files, and what stands in them.

One folder holds everything of a node: its configuration, secrets, data and
logs. The server may see that folder under another path (``Identity.inside``):
in a chroot and in a container it is ``/node``.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec

from rabbitjobs.errors import NodeError

USER = "rabbitjobs"
HOST = "127.0.0.1"
# Below the range from which Linux takes the ports of outgoing connections.
PORTS = range(20_000, 32_000)


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What makes a node itself over restarts: its name, ports and secrets.

    ``password`` and ``cookie`` are secret: they are written to files of mode
    0600 or 0400 only, and ``repr`` leaves them out.
    """

    name: str
    amqp_port: int
    http_port: int
    dist_port: int
    epmd_port: int
    password: str
    cookie: str
    tls_port: int = 0
    own_epmd: bool = True
    """Whether the node starts and ends its epmd itself; the nodes of a cluster share one."""

    def __repr__(self) -> str:
        return f"Identity(name={self.name!r}, amqp_port={self.amqp_port})"

    @property
    def nodename(self) -> str:
        """The Erlang node's name."""
        return f"{self.name}@localhost"

    def url(self, vhost: str = "/") -> str:
        """The AMQP URL of ``vhost``, with the password in it."""
        return f"amqp://{USER}:{self.password}@{HOST}:{self.amqp_port}/{quote(vhost, safe='')}"

    def tls_url(self, vhost: str = "/") -> str:
        """The AMQP URL of ``vhost`` on the TLS port, with the password in it."""
        return f"amqps://{USER}:{self.password}@{HOST}:{self.tls_port}/{quote(vhost, safe='')}"

    @property
    def management_url(self) -> str:
        """The address of the management HTTP API, with the password in it."""
        return f"http://{USER}:{self.password}@{HOST}:{self.http_port}"


def new_identity(name: str = "rabbitjobs") -> Identity:
    """A fresh identity: free ports of this moment, random password and cookie."""
    amqp, http, dist, epmd, tls = free_ports(5)
    return Identity(
        name=name,
        amqp_port=amqp,
        http_port=http,
        dist_port=dist,
        epmd_port=epmd,
        tls_port=tls,
        password=secrets.token_urlsafe(24),
        cookie=secrets.token_hex(20),
    )


def free_ports(count: int) -> list[int]:
    """``count`` different loopback ports that nobody listens on at this moment."""
    found: list[int] = []
    for port in random.SystemRandom().sample(PORTS, k=len(PORTS)):
        if _is_free(port):
            found.append(port)
        if len(found) == count:
            return found
    raise NodeError(
        f"expected {count} free ports between {PORTS.start} and {PORTS.stop} on {HOST}, "
        f"got {len(found)}; end some of the programs that listen there"
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def write_secret(path: Path, text: str, mode: int = 0o600) -> None:
    """Write ``text`` so that no other user can read it at any moment."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}.new")
    scratch.unlink(missing_ok=True)
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(text)
    scratch.replace(path)


class ServerTls(msgspec.Struct, frozen=True, kw_only=True):
    """What a node's TLS port needs: files in PEM, and whether clients must show a certificate.

    ``ca`` are the authorities that clients' certificates are held against. The node copies the
    files into its folder (``tls/``), the key readable for its owner only.
    """

    ca: Path
    cert: Path
    key: Path
    clients_too: bool = False


def lay_out(
    folder: Path,
    identity: Identity,
    *,
    bind: str,
    inside: str,
    settings: Mapping[str, str],
    tls: ServerTls | None = None,
) -> None:
    """Write the node's configuration into ``folder`` (made if missing, mode 0700).

    ``bind`` is the address that the server listens on, ``inside`` the folder as it sees it;
    ``settings`` are further lines of rabbitmq.conf and win over ours. With ``tls`` it listens
    on ``identity.tls_port`` as well.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    for name in ("data", "log", "generated"):
        (folder / name).mkdir(exist_ok=True)
    lines = {**(_lay_out_tls(folder, identity, bind, inside, tls) if tls else {}), **settings}
    write_secret(folder / ".erlang.cookie", identity.cookie, mode=0o400)
    write_secret(folder / "rabbitmq.conf", _configuration(identity, bind, lines))
    write_secret(folder / "advanced.config", ADVANCED)
    write_secret(folder / "enabled_plugins", "[rabbitmq_management].\n")


def _lay_out_tls(
    folder: Path, identity: Identity, bind: str, inside: str, tls: ServerTls
) -> dict[str, str]:
    (folder / "tls").mkdir(mode=0o700, exist_ok=True)
    for name, source in (("ca", tls.ca), ("cert", tls.cert), ("key", tls.key)):
        write_secret(folder / "tls" / f"{name}.pem", source.read_text(encoding="ascii"))
    return {
        "listeners.ssl.1": f"{bind}:{identity.tls_port}",
        "ssl_options.cacertfile": f"{inside}/tls/ca.pem",
        "ssl_options.certfile": f"{inside}/tls/cert.pem",
        "ssl_options.keyfile": f"{inside}/tls/key.pem",
        "ssl_options.versions.1": "tlsv1.3",
        "ssl_options.versions.2": "tlsv1.2",
        "ssl_options.verify": "verify_peer" if tls.clients_too else "verify_none",
        "ssl_options.fail_if_no_peer_cert": "true" if tls.clients_too else "false",
    }


# A refused dead lettering is tried again after this time; RabbitMQ's own 180 s
# would make "the work queue was full" look like a lost job in tests and demo.
ADVANCED = "[{rabbit, [{dead_letter_worker_publisher_confirm_timeout, 5000}]}].\n"


def _configuration(identity: Identity, bind: str, settings: Mapping[str, str]) -> str:
    lines = {
        "listeners.tcp.1": f"{bind}:{identity.amqp_port}",
        "management.tcp.ip": bind,
        "management.tcp.port": str(identity.http_port),
        "default_user": USER,
        "default_pass": identity.password,
        "default_user_tags.administrator": "true",
        "disk_free_limit.absolute": "50MB",
        "collect_statistics_interval": "1000",
        "log.file.level": "info",
        **settings,
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def environment(identity: Identity, inside: str) -> dict[str, str]:
    """The variables of a private node whose folder the server sees as ``inside``."""
    return {
        "HOME": inside,
        "LANG": "C.UTF-8",
        "RABBITMQ_NODENAME": identity.nodename,
        "RABBITMQ_DIST_PORT": str(identity.dist_port),
        "ERL_EPMD_PORT": str(identity.epmd_port),
        "ERL_EPMD_ADDRESS": HOST,
        "RABBITMQ_MNESIA_BASE": f"{inside}/data",
        "RABBITMQ_LOG_BASE": f"{inside}/log",
        "RABBITMQ_PID_FILE": f"{inside}/rabbitmq.pid",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{inside}/enabled_plugins",
        "RABBITMQ_CONFIG_FILE": f"{inside}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{inside}/advanced.config",
        "RABBITMQ_GENERATED_CONFIG_DIR": f"{inside}/generated",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "ERL_CRASH_DUMP": f"{inside}/erl_crash.dump",
        # Then the start script becomes the server itself instead of waiting for it.
        "RUNNING_UNDER_SYSTEMD": "true",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none"
        ),
    }

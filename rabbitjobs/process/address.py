"""Where a process listens for those who ask how it is."""

from __future__ import annotations

import contextlib
import ipaddress
import socket

import msgspec

from rabbitjobs.errors import WorkerError


class Address(msgspec.Struct, frozen=True):
    """Where to listen."""

    host: str
    port: int

    @property
    def private(self) -> bool:
        """Whether only this machine reaches it."""
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(self.host).is_loopback
        return self.host == "localhost"


def parse_address(text: str) -> Address:
    """Read ``8080`` (on 127.0.0.1), ``HOST:PORT`` or ``[::1]:8080``; raises ``ValueError``."""
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"expected PORT or HOST:PORT, got {text!r}")
    return Address(host, int(port))


def listening(address: Address) -> socket.socket:
    """A socket that listens there; raises ``WorkerError`` where that is not possible."""
    try:
        (family, _, _, _, place), *_ = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        return socket.create_server(place[:2], family=family)
    except OSError as error:
        raise WorkerError(
            f"expected a free address for --health, got {address.host}:{address.port} "
            f"({error.strerror or error}); name another one"
        ) from None

"""How a request arrived: under which host, from which client, and from whose page.

Proxies are believed only where the config names them; ``X-Forwarded-Host`` is never believed.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from rabbitjobs.review.web_options import Network

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
_PROXIED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request came from, and what it called us.

    ``local``: it came from this machine itself and no proxy stands between. ``origin`` is ours, as
    the browser sees it.
    """

    client: str
    host: str
    origin: str
    secure: bool
    local: bool

    @property
    def loopback(self) -> bool:
        """Whether it called us by a name of this machine."""
        return self.host in LOOPBACK_HOSTS


def arrive(scope: Scope, *, hosts: Collection[str], proxies: Sequence[Network]) -> Arrival:
    """Read it off the connection and the headers; raises ``HTTPException`` for a wrong host.

    ``hosts`` are the names that we go by, besides those of this machine.
    """
    headers = Headers(scope=scope)
    authorities = headers.getlist("host")
    found = _AUTHORITY.fullmatch(authorities[0].lower()) if len(authorities) == 1 else None
    if found is None:
        raise HTTPException(400, "expected one Host header with a host's name")
    host = found[1].removesuffix(".")
    if host not in LOOPBACK_HOSTS and host not in hosts:
        raise HTTPException(421, "expected a host that web.hosts in the config names, got another")
    peer = scope["client"][0] if scope.get("client") else ""
    client, scheme = peer, str(scope.get("scheme", "http"))
    if _is_in(peer, proxies):
        client = _behind(headers, proxies) or peer
        scheme = _scheme(headers) or scheme
    local = _is_loopback(peer) and not any(name in headers for name in _PROXIED)
    return Arrival(
        client=client or "an unnamed socket",
        host=host,
        origin=_origin(scheme, host, found[2]),
        secure=scheme == "https",
        local=local and host in LOOPBACK_HOSTS,
    )


def came_from_us(headers: Headers, arrival: Arrival) -> bool:
    """Whether the browser says that one of our own pages sent this; silence is no yes and no no.

    Origin, else the Referer; and ``Sec-Fetch-Site``, which no script can set.
    """
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    said = headers.get("origin")
    if said is None:
        referer = headers.get("referer")
        if referer is None:
            return True
        said = "://".join(urlsplit(referer)[:2]) if _is_url(referer) else "null"
    if not _is_url(said):
        return False
    parts = urlsplit(said)
    match = _AUTHORITY.fullmatch(parts.netloc.lower())
    return match is not None and _origin(parts.scheme, match[1], match[2]) == arrival.origin


def _is_url(text: str) -> bool:
    try:
        return bool(urlsplit(text).netloc)
    except ValueError:
        return False


def _origin(scheme: str, host: str, port: str | None) -> str:
    usual = port is None or port == _DEFAULT_PORTS.get(scheme)
    return f"{scheme}://{host}" if usual else f"{scheme}://{host}:{port}"


def _behind(headers: Headers, proxies: Sequence[Network]) -> str | None:
    """The nearest address that is no proxy of ours: what stands left of it, anybody may write."""
    chain = [one.strip() for line in headers.getlist("x-forwarded-for") for one in line.split(",")]
    for address in reversed(chain):
        if not _is_address(address):
            return None
        if not _is_in(address, proxies):
            return address
    return None


def _scheme(headers: Headers) -> str | None:
    said = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip().lower()
    return said if said in _DEFAULT_PORTS else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_in(address: str, networks: Sequence[Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in one for one in networks)


def _is_loopback(address: str) -> bool:
    return _is_address(address) and ipaddress.ip_address(address).is_loopback

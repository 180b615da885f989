"""How the desk's web pages are set up: who may log in, under which names they are reached.

Read from ``web:`` in the config; what somebody may do once he is in stands in ``review.people``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

import msgspec

from rabbitjobs.fields import Field
from rabbitjobs.secret import Secret

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_IDLE, _SESSION = timedelta(hours=1), timedelta(hours=12)
_MINUTE, _MONTH = timedelta(minutes=1), timedelta(days=31)
# As RFC 9106 writes it; the least costs that are worth anything are argon2's own affair.
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=\d{1,8},t=\d{1,3},p=\d{1,3}\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{22,}"
)
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


class WebOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the pages are set up.

    ``people`` are the argon2id hashes of the passwords of those who may log in; without any,
    nobody needs to, and only this machine is served. ``hosts`` are the names that browsers reach
    the pages by, besides those of this machine; ``proxies`` are the networks whose ``X-Forwarded-``
    headers are believed. A session ends ``idle`` after its last request, and ``session`` after the
    login whatever happens.
    """

    people: Mapping[str, Secret] = {}
    hosts: tuple[str, ...] = ()
    proxies: tuple[Network, ...] = ()
    idle: timedelta = _IDLE
    session: timedelta = _SESSION


OPEN: Final = WebOptions()
"""Without a config: no login, this machine only."""


def read(place: Field, people: Collection[str]) -> WebOptions:
    """Read ``web:``; ``people`` are the names in ``review.people``, of whom alone one may log in.

    What is wrong is collected in the document, with file and line.
    """
    place.keys("people", "hosts", "proxies", "idle", "session")
    return WebOptions(
        people={
            str(one.path[-1]): _password(one, people) for one in place.child("people").entries()
        },
        hosts=_hosts(place.child("hosts")),
        proxies=tuple(
            network for one in place.child("proxies").items() for network in _networks(one)
        ),
        idle=place.child("idle").duration(_IDLE, least=_MINUTE, most=_MONTH),
        session=place.child("session").duration(_SESSION, least=_MINUTE, most=_MONTH),
    )


def _password(place: Field, people: Collection[str]) -> Secret:
    place.keys("password", required=("password",))
    name = str(place.path[-1])
    if name not in people:
        place.fail(f"{name} in review.people as well, where his role stands", "no such name there")
    hash_ = place.child("password")
    text = hash_.text()
    if text and not _HASH.fullmatch(text):
        # Never the text itself: it may be the password in plain.
        hash_.fail("a hash as `rabbitjobs web password` prints it ($argon2id$...)", "another text")
    return Secret(text)


def _hosts(place: Field) -> tuple[str, ...]:
    for item in place.items():
        item.text(fault=_host_fault)
    return tuple(host.lower() for host in place.texts())


def _host_fault(text: str) -> str | None:
    if _HOST.fullmatch(text.lower()):
        return None
    return "the name of a host as browsers write it, without scheme and port, such as desk.shop.com"


def _networks(place: Field) -> tuple[Network, ...]:
    text = place.text()
    try:
        return (ipaddress.ip_network(text),) if text else ()
    except ValueError:
        place.fail("an address or network of a proxy, such as 127.0.0.1 or 10.1.0.0/16")
        return ()

"""Certificates for tests, made at run time by authorities of their own: no key is ever kept."""

from __future__ import annotations

import datetime as dt
import ssl
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certified:
    """A certificate with its key, as files."""

    cert: Path
    key: Path

    def server_context(self) -> ssl.SSLContext:
        """For a server of this process."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.cert, self.key)
        return context


class Authority:
    """A certificate authority; what it makes goes into ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._authority = trustme.CA(organization_name=f"tests {folder.name}")
        self.cert = folder / "ca.pem"
        self._authority.cert_pem.write_to_path(self.cert)

    def certify(self, name: str, *hosts: str, expired: bool = False) -> Certified:
        """A certificate for ``hosts`` (names and addresses), as ``name``.pem and ``name``.key."""
        now = dt.datetime.now(dt.UTC)
        made = self._authority.issue_cert(
            *hosts,
            common_name=name,
            not_before=now - dt.timedelta(days=2),
            not_after=now + dt.timedelta(days=-1 if expired else 1),
        )
        found = Certified(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        for number, part in enumerate(made.cert_chain_pems):
            part.write_to_path(found.cert, append=number > 0)
        made.private_key_pem.write_to_path(found.key)
        return found

    def self_signed(self) -> Certified:
        """The authority's own certificate, as a server that has no other would show it."""
        key = self._folder / "ca.key"
        self._authority.private_key_pem.write_to_path(key)
        return Certified(self.cert, key)

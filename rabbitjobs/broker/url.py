"""Broker addresses: AMQP URLs, read strictly, with their secrets kept out of sight."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from rabbitjobs.errors import UrlRefused
from rabbitjobs.secret import Secret

if TYPE_CHECKING:
    import ssl

# The grace of both client libraries is two to three heartbeats: at their default of 60 s a dead
# broker is noticed after minutes.
HEARTBEAT_SECONDS = 10
_OPTIONS = frozenset({"heartbeat", "cafile", "certfile", "keyfile", "server_name"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where one broker node is and how to log in. ``heartbeat`` is in seconds."""

    host: str = "127.0.0.1"
    port: int = 5672
    user: str = "guest"
    password: Secret = field(default_factory=lambda: Secret("guest"))
    vhost: str = "/"
    tls: bool = False
    heartbeat: int = HEARTBEAT_SECONDS
    cafile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    server_name: str | None = None

    def __str__(self) -> str:
        scheme = "amqps" if self.tls else "amqp"
        return f"{scheme}://{self.user}:***@{self.host}:{self.port}/{quote(self.vhost, safe='')}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """A context that checks certificate and host name; ``None`` without TLS."""
        if not self.tls:
            return None
        import ssl

        context = ssl.create_default_context(cafile=self.cafile)
        if self.certfile:
            context.load_cert_chain(self.certfile, self.keyfile)
        return context


def parse_urls(text: str) -> tuple[Address, ...]:
    """Read one AMQP URL, or several nodes of one cluster separated by commas.

    Raises ``UrlRefused`` for another scheme and for every option that is unknown: a client
    library's ``no_verify_ssl`` would silently switch off certificate checks.
    """
    return tuple(_parse(part.strip()) for part in text.split(",") if part.strip()) or _empty()


def _empty() -> tuple[Address, ...]:
    raise UrlRefused("expected a broker URL such as amqp://user:password@host/vhost, got nothing")


# No part of a URL that does not parse is ever quoted: a password with an unescaped / ? or # in
# it turns up as port, path or option.
_ESCAPE = "a / ? # @ or % in the password must be percent-encoded"


def _parse(url: str) -> Address:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused(
            f"expected a URL with a number as port, got another one; {_ESCAPE}"
        ) from None
    if parts.scheme not in ("amqp", "amqps") or not parts.netloc or parts.fragment:
        raise UrlRefused(
            f"expected a URL such as amqp://user:password@host/vhost, got another form; {_ESCAPE}"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    _check_options(options)
    tls = parts.scheme == "amqps"
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or (5671 if tls else 5672),
        user=unquote(parts.username or "guest"),
        password=Secret(unquote(parts.password or "guest")),
        vhost=unquote(parts.path[1:]) if len(parts.path) > 1 else "/",
        tls=tls,
        heartbeat=int(options.get("heartbeat", HEARTBEAT_SECONDS)),
        cafile=options.get("cafile"),
        certfile=options.get("certfile"),
        keyfile=options.get("keyfile"),
        server_name=options.get("server_name"),
    )


def _check_options(options: dict[str, str]) -> None:
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        shown = [name if name.replace("_", "").isalpha() else "something else" for name in unknown]
        raise UrlRefused(
            f"expected only the URL options {', '.join(sorted(_OPTIONS))}, got {', '.join(shown)}; "
            f"certificate checks cannot be switched off, and {_ESCAPE}"
        )
    heartbeat = options.get("heartbeat", str(HEARTBEAT_SECONDS))
    if not (heartbeat.isdecimal() and len(heartbeat) < 4 and 1 <= int(heartbeat) <= 600):
        raise UrlRefused("expected a heartbeat of 1 to 600 seconds, got another value")

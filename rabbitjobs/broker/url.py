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
# The names of RabbitMQ's URI specification: https://www.rabbitmq.com/docs/uri-query-parameters
_TLS_OPTIONS = ("cacertfile", "certfile", "keyfile", "server_name_indication", "verify")
_OPTIONS = frozenset({"heartbeat", *_TLS_OPTIONS})


@dataclass(frozen=True, slots=True)
class Address:
    """Where one broker node is and how to log in. ``heartbeat`` is in seconds.

    With ``tls``, ``cafile`` holds the authorities to trust (else the system's), ``certfile`` and
    ``keyfile`` our own certificate, and ``server_name`` the name to expect in the broker's.
    """

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
        """A context that checks certificate and host name; ``None`` without TLS.

        Raises `UrlRefused` for files that cannot be used.
        """
        if not self.tls:
            return None
        from rabbitjobs.broker.tls import client_context

        return client_context(self.cafile, self.certfile, self.keyfile)


def parse_urls(text: str) -> tuple[Address, ...]:
    """Read one AMQP URL, or several nodes of one cluster separated by commas.

    Options are named as in RabbitMQ's URI specification: ``heartbeat``, and for ``amqps://``
    ``cacertfile``, ``certfile``, ``keyfile``, ``server_name_indication``. Raises ``UrlRefused``
    for another scheme and for every option that is unknown: a client library's ``no_verify_ssl``
    would silently switch off certificate checks.
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
    tls = parts.scheme == "amqps"
    options = _options(parse_qsl(parts.query, keep_blank_values=True), tls=tls)
    return Address(
        host=parts.hostname or "127.0.0.1",
        port=port or (5671 if tls else 5672),
        user=unquote(parts.username or "guest"),
        password=Secret(unquote(parts.password or "guest")),
        vhost=unquote(parts.path[1:]) if len(parts.path) > 1 else "/",
        tls=tls,
        heartbeat=int(options.get("heartbeat", HEARTBEAT_SECONDS)),
        cafile=options.get("cacertfile"),
        certfile=options.get("certfile"),
        keyfile=options.get("keyfile"),
        server_name=options.get("server_name_indication"),
    )


def plain_urls(text: str) -> tuple[int, int]:
    """How many of the URLs in ``text`` would send in plain, and how many there are."""
    schemes = [part.strip().partition(":")[0] for part in text.split(",") if part.strip()]
    return sum(scheme.lower() != "amqps" for scheme in schemes), len(schemes)


def with_tls_files(text: str, *, where: str = "", **files: str | None) -> str:
    """The same URLs with ``cacertfile``, ``certfile`` and ``keyfile`` where they name none.

    What stands in a URL wins. ``where`` is where the files are named, for the error. Raises
    ``UrlRefused`` for URLs that cannot be read, and for files beside any ``amqp://`` URL: it would
    send in plain what somebody meant to protect.
    """
    given = {name: path for name, path in files.items() if path}
    parts = [part.strip() for part in text.split(",") if part.strip()] if given else []
    addresses = [_parse(part) for part in parts]
    plain = sum(not address.tls for address in addresses)
    if plain:
        raise UrlRefused(
            f"{where}expected amqps:// in every URL beside the files for TLS, got amqp:// "
            f"in {plain} of {len(parts)}, which sends in plain; write amqps:// and "
            "the broker's TLS port (5671 unless changed), or take ca, cert and key away"
        )
    return ",".join(_with_tls_files(part, given) for part in parts) or text


def _with_tls_files(url: str, files: dict[str, str]) -> str:
    there = {name for name, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True)}
    # A client certificate and its key belong together.
    taken = there | ({"certfile", "keyfile"} if there & {"certfile", "keyfile"} else set())
    more = [f"{name}={quote(path, safe='')}" for name, path in files.items() if name not in taken]
    if not more:
        return url
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(more)}"


def management_options(query: str, *, tls: bool) -> dict[str, str]:
    """The TLS options of a management URL, by the names that they have in AMQP URLs.

    Raises ``UrlRefused`` for others, and for any without ``tls``.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    if pairs and not tls:
        raise UrlRefused(
            "expected no options in a management URL of http://, got some; write https:// if they "
            "are about TLS, or leave them out"
        )
    options = _options(pairs, tls=tls)
    if "heartbeat" in options:
        raise UrlRefused("expected heartbeat in the AMQP URL, got it in a management URL; move it")
    return options


def _options(pairs: list[tuple[str, str]], *, tls: bool) -> dict[str, str]:
    options = dict(pairs)
    _check_options(options)
    if len(options) < len(pairs):
        raise UrlRefused("expected each URL option once, got one of them twice; leave one out")
    if options.get("verify", "verify_peer") != "verify_peer":
        raise UrlRefused(
            "expected verify=verify_peer, got another value; certificate checks cannot be switched "
            "off: name the broker's authority with cacertfile=PATH instead"
        )
    given = [name for name in _TLS_OPTIONS if name in options]
    if given and not tls:
        raise UrlRefused(
            f"expected amqps:// with {', '.join(given)}, got amqp://, which sends everything in "
            "plain; write amqps:// and the broker's TLS port (5671 unless changed)"
        )
    if empty := [name for name in given if not options[name]]:
        raise UrlRefused(f"expected a value for {', '.join(empty)}, got nothing; leave it out")
    return options


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

"""TLS: a client's context, which always checks, and what to do when a handshake fails."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rabbitjobs.errors import UrlRefused

if TYPE_CHECKING:
    import ssl

    from rabbitjobs.broker.url import Address

_ASKS: Final = (
    "the broker asks for a client's certificate, name its files: broker.cert and broker.key in the "
    "config, or certfile=PATH&keyfile=PATH in the URL"
)
_REFUSES: Final = (
    "the broker refuses our client certificate (expired, or of an authority that it does not "
    "know), renew broker.cert and broker.key"
)
_CUT: Final = ("reset", "EOF occurred in violation of protocol")
# What OpenSSL says (in any letter case), and what to do about it. The first that fits counts.
_ADVICE: Final = (
    (
        ("hostname mismatch", "ip address mismatch", "doesn't match"),
        "the broker's certificate is for another host; connect by a name that stands in it, or "
        "give that name as server_name_indication=NAME in the URL",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        "renew the broker's certificate, or set the clock of the machine that is wrong",
    ),
    (
        ("certificate verify failed",),
        "none of the authorities that we trust has signed the broker's certificate; name the "
        "right authority's file: broker.ca in the config, or cacertfile=PATH in the URL",
    ),
    (("certificate required", "handshake failure"), _ASKS),
    (
        ("alert unknown ca", "alert bad certificate", "alert certificate", "alert decrypt error"),
        _REFUSES,
    ),
    (
        ("wrong version number", "record layer failure", "packet length too long"),
        "nothing speaks TLS on this port; use the TLS port (5671 unless changed)",
    ),
    (
        ("protocol version", "unsupported protocol", "no protocols available"),
        "enable TLS 1.2 or 1.3 on the broker",
    ),
)


def client_context(
    cafile: str | None = None, certfile: str | None = None, keyfile: str | None = None
) -> ssl.SSLContext:
    """A context of TLS 1.2 or newer that checks the certificate and the host name.

    Without ``cafile`` it trusts the system's authorities, with it those of the file only.
    ``certfile`` and ``keyfile`` are for brokers that ask for a client's certificate. Raises
    `UrlRefused` for files that cannot be used.
    """
    import ssl

    _check_files(cacertfile=cafile, certfile=certfile, keyfile=keyfile)
    try:
        context = ssl.create_default_context(cafile=cafile)
    except ssl.SSLError as error:
        raise UrlRefused(
            f"expected the authorities' certificates (PEM) in {cafile}, got {_first(error)}; "
            "mend broker.ca or cacertfile"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certfile:
        try:
            context.load_cert_chain(certfile, keyfile, password=_no_passphrase)
        except ssl.SSLError as error:
            raise UrlRefused(
                f"expected a certificate in {certfile} and its key in {keyfile or certfile} (both "
                f"PEM), got {_first(error)}; mend broker.cert and broker.key, or certfile and "
                "keyfile"
            ) from error
    return context


def advice(error: BaseException | None, address: Address | None = None) -> str:
    """What to do about a failed TLS handshake, as "; do this"; "" for an error of another kind.

    The client libraries wrap OpenSSL's error in their own, once or twice, or quote it. A broker
    that misses or refuses our certificate may cut the line before its alert is read: with
    ``address`` that is told too.
    """
    seen: list[BaseException] = []
    waiting = [error] if error is not None else []
    while waiting:
        one = waiting.pop()
        if "[SSL" in str(one):
            return _advice(str(one).lower().replace("_", " "))
        seen.append(one)
        waiting += [inner for inner in _inside(one) if inner not in seen]
    if address is not None and address.tls and _cut(seen):
        return f"; if {_REFUSES if address.certfile else _ASKS}"
    return ""


def _cut(errors: list[BaseException]) -> bool:
    return any(
        isinstance(one, ConnectionError) or any(sign in str(one) for sign in _CUT) for one in errors
    )


def _inside(error: BaseException) -> list[BaseException]:
    several = getattr(error, "exceptions", None) or ()
    found = [error.__cause__, error.__context__, getattr(error, "exception", None)]
    return [one for one in (*found, *several, *error.args) if isinstance(one, BaseException)]


def _advice(text: str) -> str:
    for signs, what in _ADVICE:
        if any(sign in text for sign in signs):
            return f"; {what}"
    return "; look into the broker's log for its side of the TLS handshake"


def _check_files(**files: str | None) -> None:
    """OpenSSL's own error does not say which of the files is missing."""
    if files["keyfile"] and not files["certfile"]:
        raise UrlRefused(
            "expected a certificate beside its key, got the key alone; name it: broker.cert in "
            "the config, or certfile=PATH in the URL"
        )
    for option, path in files.items():
        if path is None:
            continue
        try:
            with Path(path).open("rb"):
                pass
        except OSError as error:
            raise UrlRefused(
                f"expected a file that can be read as {option}, got {path}: {error.strerror}; "
                "mend the path, or the file's owner and mode"
            ) from error


def _no_passphrase() -> str:
    # OpenSSL would ask on the terminal, where nobody answers a worker.
    raise UrlRefused(
        "expected a key without a passphrase, got an encrypted one; write it out with "
        "`openssl pkey`, readable for its owner only"
    )


def _first(error: BaseException) -> str:
    return str(error).partition(" (_ssl")[0]

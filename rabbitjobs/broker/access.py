"""Why a broker cannot be used: it does not let us in, or it cannot be reached."""

from __future__ import annotations

from typing import Final

from rabbitjobs.broker.tls import advice
from rabbitjobs.broker.url import Address
from rabbitjobs.errors import AccessRefused, ConnectionLost

# The broker's own words: a wrong password or user; a vhost that is not there or not this user's.
_REFUSALS: Final = ("ACCESS_REFUSED", "NOT_ALLOWED")
MEND: Final = "correct user, password or vhost in broker.url"


def unreached(address: Address, said: str, error: BaseException) -> ConnectionLost:
    """The error of a connection that could not be made; ``AccessRefused`` if the broker says so.

    ``said`` is the reason as it was told, ``error`` what was raised: of a failed TLS handshake it
    tells what to do.
    """
    if any(sign in said for sign in _REFUSALS):
        return AccessRefused(
            f"expected the broker at {address.host}:{address.port} to let user {address.user!r} "
            f"into vhost {address.vhost!r}, got: {said}; {MEND}"
        )
    return ConnectionLost(f"no connection to {address}: {said}{advice(error, address)}")

"""Passwords: argon2id, off the event loop, taking as long for a name that nobody has."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping

from argon2 import Parameters, PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

from rabbitjobs.secret import Secret

# A hash takes all of a core and 64 MiB: more at once would only make each slower.
AT_ONCE = 2
WAITING_MOST = 20
PASSWORD_MOST = 1024
_SHORTEST = 12


def hash_password(password: str) -> str:
    """What stands in the config for a password: RFC 9106's second choice of costs."""
    return PasswordHasher().hash(password)


def weakness(password: str) -> str | None:
    """What is wrong with a new password, ``None`` if it will do."""
    if len(password) < _SHORTEST:
        return f"a password of {_SHORTEST} characters or more, got one of {len(password)}"
    if len(password) > PASSWORD_MOST:
        return f"a password of up to {PASSWORD_MOST} characters, got one of {len(password)}"
    return None


class Passwords:
    """Checks passwords against the hashes of the people who may log in."""

    def __init__(self, people: Mapping[str, Secret]) -> None:
        self._people = people
        self._slots: asyncio.Semaphore | None = None
        self._waiting = 0
        self._nobody: str | None = None

    @property
    def busy(self) -> bool:
        """Whether so many wait that another one had better come back later."""
        return self._waiting >= WAITING_MOST

    async def fit(self, name: str, password: str) -> bool:
        """Whether it is the password of ``name``; takes as long if there is no such name."""
        if self._slots is None:  # of the loop that serves
            self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting += 1
        try:
            async with self._slots:
                return await asyncio.to_thread(self._fit, name, password)
        finally:
            self._waiting -= 1

    def _fit(self, name: str, password: str) -> bool:
        known = self._people.get(name)
        hash_ = known.reveal() if known else self._hash_of_nobody()
        try:
            fits = PasswordHasher().verify(hash_, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return fits and known is not None

    def _hash_of_nobody(self) -> str:
        """Of no password, at the costs of the dearest one that somebody has."""
        if self._nobody is None:
            costs = [extract_parameters(one.reveal()) for one in self._people.values()]
            dearest = max(costs, key=_cost, default=None)
            hasher = PasswordHasher.from_parameters(dearest) if dearest else PasswordHasher()
            self._nobody = hasher.hash(secrets.token_urlsafe(32))
        return self._nobody


def _cost(parameters: Parameters) -> int:
    return parameters.memory_cost * parameters.time_cost

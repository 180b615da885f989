"""Reading ``signing:`` of the config; no text about a fault shows a key."""

from __future__ import annotations

import re
from typing import Final

from rabbitjobs.fields import Field
from rabbitjobs.message.signing import SigningOptions
from rabbitjobs.secret import Secret

# As long as the digest: shorter ones weaken it (RFC 2104, section 3).
SHORTEST_KEY: Final = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")


def read(place: Field) -> SigningOptions | None:
    """The options; ``None`` without the section, and for one with faults, which are reported.

    A section with nothing in it is a fault: somebody wanted jobs to be signed.
    """
    if place.node is None:
        return None
    if not _is_mapping(place):
        got = "another form" if place.given else "nothing"
        place.fail("a mapping (keys: ..., sign_with: ...); take the line away to sign nothing", got)
        return None
    place.keys("keys", "sign_with", "require", required=("keys",))
    keys = _keys(place.child("keys"))
    require = place.child("require").flag(True)
    chosen = place.child("sign_with").text()
    if not chosen and len(keys) == 1:
        (chosen,) = keys
    if keys and chosen not in keys:
        # Somebody may have put the key itself there, and keys are shown nowhere.
        shown = chosen if len(chosen) < SHORTEST_KEY else "another text"
        place.child("sign_with").fail(f"one of the keys {', '.join(keys)}", shown or "nothing")
        return None
    return SigningOptions(keys, chosen, require) if keys else None


def _keys(place: Field) -> dict[str, Secret]:
    if place.given and not _is_mapping(place):
        place.fail("a mapping (id: key)", "another form")
        return {}
    found: dict[str, Secret] = {}
    for entry in place.entries():
        name = str(entry.path[-1])
        key = entry.node.value if entry.node else None
        if not _KEY_ID.fullmatch(name):
            entry.fail("a key id of 1 to 32 letters, digits, - _ or .", "another one")
        elif not isinstance(key, str):
            entry.fail("a key as text (in quotes)", "nothing" if key is None else "another type")
        elif len(key) < SHORTEST_KEY:
            entry.fail(f"a key of at least {SHORTEST_KEY} characters", f"{len(key)} characters")
        else:
            found[name] = Secret(key)
    if place.given and not place.entries():
        place.fail("at least one key", "none")
    return found


def _is_mapping(place: Field) -> bool:
    return place.node is not None and isinstance(place.node.value, dict)

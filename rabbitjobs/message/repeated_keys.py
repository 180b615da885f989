"""A JSON object that has a key twice: readers differ on which one holds, so it is refused.

RFC 8259, section 4: "the behavior of software that receives such an object is unpredictable".
A reviewer's screen and the worker must not read two different jobs out of one body.
"""

from __future__ import annotations

import json
from typing import Any


def refuse_repeated_keys(body: bytes, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise ``ValueError`` for a body with a repeated key; ``args`` and ``kwargs`` as decoded."""
    # Each key of the text has its colon. As many colons as keys were read, those of the body itself
    # included: none was read over. What we send ourselves passes here without a second reading,
    # and with two colons, those of the body itself, without counting its keys either.
    both = bool(kwargs) or body.endswith(b'"kwargs":{}}')
    if body.startswith(b'{"args":') and both:
        colons = body.count(b":")
        if colons == 2 or colons == 2 + _keys(args, kwargs):
            return
    json.loads(body, object_pairs_hook=_object)


def _keys(*values: Any) -> int:
    count = 0
    left = list(values)
    while left:
        value = left.pop()
        if type(value) is dict:
            count += len(value)
            left.extend(value.values())
        elif type(value) is list:
            left.extend(value)
    return count


def _object(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"the key {key[:100]!r} stands there twice")
        seen.add(key)

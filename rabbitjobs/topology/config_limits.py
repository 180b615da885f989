"""How often and how many: the ``rate`` and ``concurrency`` of a queue in the config."""

from __future__ import annotations

from typing import Final

from rabbitjobs.fields import Field
from rabbitjobs.policy.rate import RATE_EXPECTED, SCOPES, Rate
from rabbitjobs.policy.rate import rate as parse_rate

MOST_SLOTS: Final = 65535


def read_rate(field: Field) -> Rate | None:
    """``100/s``, or ``{limit: 100/s, scope: process}``; ``None`` where there is none."""
    if not field.given:
        return None
    limit, scope = field, "fleet"
    if field.node is not None and isinstance(field.node.value, dict):
        field.keys("limit", "scope", required=("limit",))
        limit, scope = field.child("limit"), field.child("scope").choice(SCOPES, "fleet")
    if limit.node is None or not isinstance(limit.node.value, str):
        if limit.given:
            limit.fail(RATE_EXPECTED)
        return None
    text = limit.text(fault=_rate_fault)
    if _rate_fault(text):
        return None
    found = parse_rate(text)
    return Rate(found.count, found.seconds, "process") if scope == "process" else found


def read_concurrency(field: Field, default: int) -> tuple[int | None, int]:
    """The least and the most slots; the least is ``None`` where there is one number."""
    if field.node is None or not isinstance(field.node.value, dict):
        return None, field.integer(default, least=1, most=MOST_SLOTS)
    field.keys("min", "max", required=("min", "max"))
    least = field.child("min").integer(1, least=1, most=MOST_SLOTS)
    most = field.child("max").integer(max(least, default), least=1, most=MOST_SLOTS)
    if most < least:
        field.child("max").fail(f"at least the min of {least}")
        return least, least
    return least, most


def _rate_fault(text: str) -> str | None:
    try:
        parse_rate(text)
    except ValueError:
        return RATE_EXPECTED
    return None

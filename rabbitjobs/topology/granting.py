"""Giving accounts the rights of their roles, without taking away unsaid what they had."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from rabbitjobs.broker.management import Management
from rabbitjobs.errors import TopologyRefused
from rabbitjobs.topology.model import TopologySpec
from rabbitjobs.topology.permissions import NOTHING, Role, needs, roles
from rabbitjobs.topology.policies import escape_pattern

_RIGHTS: Final = ("configure", "write", "read")
_SHOWN: Final = 5
_TOKEN: Final = re.compile(r"\\.|\[(?:\\.|[^\]])+\]|.", re.DOTALL)


def grant(
    management: Management,
    vhost: str,
    spec: TopologySpec,
    users: Mapping[str, Collection[str]],
    *,
    replace: bool = False,
) -> tuple[str, ...]:
    """Give each account in ``users`` the rights of all its roles on ``vhost``; as administrator.

    RabbitMQ keeps one set of rights for an account and a vhost, so they replace what was there.
    An account that would lose something by that is refused, unless ``replace``. The accounts must
    exist; their passwords and tags stay. Open channels keep the rights that they had. Returns lines
    that say what was given and taken. Raises `TopologyRefused`, with nothing done, for an unknown
    role or account and for such a loss, and `ManagementError`.
    """
    known = {role.name: role for role in roles(spec)}
    _check_names(known, users, {str(user["name"]) for user in management.users()})
    before = {str(one["user"]): one for one in management.permissions(vhost)}
    wanted = {user: _union(known[name] for name in names) for user, names in users.items()}
    probes = _probes(management, vhost, spec)
    inside = f"^{escape_pattern(spec.namespace)}\\."
    lost = {
        user: found
        for user, new in wanted.items()
        if (found := tuple(_lost(before.get(user, {}), new, probes, inside)))
    }
    if lost and not replace:
        more = {user: _held(before[user], known, probes, users[user]) for user in lost}
        complete = all(
            not any(_lost(before[user], _union(known[one] for one in names), probes, inside))
            for user, names in more.items()
        )
        raise TopologyRefused(_refusal(vhost, lost, more if complete else {}))
    for user, new in wanted.items():
        management.set_permissions(vhost, user, **new)
        if tags := tuple(tag for name in users[user] for tag in known[name].tags):
            management.add_tags(user, tags)
    taken = [f"{user} may no longer: {'; '.join(lost[user])}" for user in lost]
    given = [f"{user} may now do what a {' and a '.join(users[user])} needs" for user in users]
    return (*taken, *given)


def _check_names(
    known: Collection[str], users: Mapping[str, Collection[str]], there: Collection[str]
) -> None:
    asked = {name for names in users.values() for name in names}
    if unknown := sorted(asked - set(known)):
        raise TopologyRefused(f"expected the roles {', '.join(known)}, got {', '.join(unknown)}")
    if missing := sorted(set(users) - set(there)):
        raise TopologyRefused(
            f"expected users that exist, got {', '.join(missing)}; create them first "
            "(rabbitmqctl add_user NAME), or name others (--user ROLE=NAME)"
        )


def _union(taken: Iterable[Role]) -> dict[str, str]:
    """One pattern for each right, of all roles: RabbitMQ keeps no more."""
    several = tuple(taken)
    return {right: _either(getattr(role, right) for role in several) for right in _RIGHTS}


def _either(patterns: Iterable[str]) -> str:
    wanted = [one for one in dict.fromkeys(patterns) if one != NOTHING]
    return "|".join(wanted) or NOTHING


def _probes(management: Management, vhost: str, spec: TopologySpec) -> frozenset[str]:
    """Names to hold patterns against: what any role needs, what may come, and what is there."""
    own = {need.name for role in needs(spec).values() for need in role}
    there = (*management.queues(vhost), *management.exchanges(vhost))
    found = [str(one["name"]) or "amq.default" for one in there]
    return frozenset((*own, *(f"{name}.x" for name in own), f"{spec.namespace}.x", *found))


def _lost(
    old: Mapping[str, Any], new: Mapping[str, str], probes: Collection[str], inside: str
) -> Iterator[str]:
    """What ``old`` allows and ``new`` does not, one text for each right.

    For what begins with ``inside`` the probes are all there is. What another pattern reaches nobody
    can say, so it counts as lost unless the very same one stays.
    """
    for right in _RIGHTS:
        was, now = str(old.get(right, "")), new[right]
        if was in ("", NOTHING, now):
            continue
        try:
            gone = sorted(_matching(was, probes) - _matching(now, probes))
        except re.error:  # RabbitMQ's dialect knows more than this one
            yield f"{right} by {was}"
            continue
        if gone:
            more = f" and {len(gone) - _SHOWN} more" if len(gone) > _SHOWN else ""
            yield f"{right} {', '.join(gone[:_SHOWN])}{more} (by {was})"
        elif not all(one.startswith(inside) for one in _alternatives(was, but=now)):
            yield f"{right} by {was}"


def _matching(pattern: str, probes: Collection[str]) -> set[str]:
    found = re.compile(pattern)
    return {name for name in probes if found.search(name)}


def _alternatives(pattern: str, *, but: str = "") -> list[str]:
    """``pattern`` cut at those ``|`` that stand in no group or class; without those of ``but``."""
    found, depth = [""], 0
    for token in _TOKEN.findall(pattern):
        depth += (token == "(") - (token == ")")
        if token == "|" and not depth:
            found.append("")
        else:
            found[-1] += token
    return [one for one in found if not but or one not in _alternatives(but)]


def _held(
    old: Mapping[str, Any], known: Mapping[str, Role], probes: Collection[str], asked: Iterable[str]
) -> list[str]:
    """The roles asked for, and those that the account has wholly and that these do not cover."""
    found = list(asked)
    for role in known.values():
        mine, theirs = _union([role]), _union(known[one] for one in found)
        has = all(_covers(str(old.get(right, "")), mine[right], probes) for right in _RIGHTS)
        if has and not all(_covers(theirs[right], mine[right], probes) for right in _RIGHTS):
            found.append(role.name)
    return found


def _covers(wide: str, narrow: str, probes: Collection[str]) -> bool:
    try:
        return _matching(narrow, probes) <= _matching(wide or NOTHING, probes)
    except re.error:
        return False


def _refusal(
    vhost: str, lost: Mapping[str, tuple[str, ...]], more: Mapping[str, Collection[str]]
) -> str:
    losses = "; ".join(f"{user} would lose {'; '.join(texts)}" for user, texts in lost.items())
    named = " ".join(f"--user {role}={user}" for user, names in more.items() for role in names)
    together = f"give all roles of an account in one command ({named}), or " if named else ""
    return (
        f"expected to take no rights away on vhost {vhost}, got accounts that have more: {losses}; "
        f"{together}take them away with --replace"
    )

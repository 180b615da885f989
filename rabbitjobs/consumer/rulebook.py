"""From config and code to the rule book of one job on one queue."""

from __future__ import annotations

from rabbitjobs.job.definition import Definition
from rabbitjobs.policy.decide import RuleBook
from rabbitjobs.policy.rules import Rule
from rabbitjobs.topology.model import DEFAULT_RETRY, RuleSpec, TopologySpec


def rule_book(spec: TopologySpec, queue: str, definition: Definition | None) -> RuleBook:
    """The rules that hold for a job (``None``: unknown here) on a queue of the config."""
    known = spec.queues[queue]
    own = definition.retry if definition and definition.retry else known.retry
    return RuleBook(
        job_rules=_named(definition),
        queue_rules=tuple(_rule(one, spec, queue) for one in known.rules),
        policies=spec.retry,
        own_retry=own or DEFAULT_RETRY,
        longest_delay=spec.longest_delay.total_seconds(),
    )


def _named(definition: Definition | None) -> tuple[Rule, ...]:
    if definition is None:
        return ()
    return tuple(
        Rule(
            do=rule.do,
            errors=rule.errors,
            policy=rule.policy,
            then=rule.then,
            keep=rule.keep,
            source=f"job {definition.name}, rule {place}: {_words(rule.errors, rule.do)}",
        )
        for place, rule in enumerate(definition.rules, 1)
    )


def _rule(one: RuleSpec, spec: TopologySpec, queue: str) -> Rule:
    then = Rule(do=one.then) if one.then else None
    place = spec.queues[queue].rules.index(one) + 1
    where = spec.where(one.line)
    source = f"queue {queue}, rule {place}: {_words(one.errors, one.do)}"
    return Rule(
        do=one.do,
        errors=tuple(name.removeprefix("builtins.") for name in one.errors),
        policy=one.retry,
        then=then,
        keep=one.keep,
        source=f"{source} ({where})" if where else source,
    )


def _words(errors: tuple[str, ...], do: str) -> str:
    return f"{', '.join(errors)} -> {do}"

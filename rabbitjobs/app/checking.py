"""Code against config: every mismatch at once, before anything is consumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rabbitjobs.app.finding import nearest
from rabbitjobs.consumer.pools.choice import OURS, fault_of, known_pools
from rabbitjobs.errors import ConfigError, Problem
from rabbitjobs.job.definition import Definition
from rabbitjobs.job.registry import Registry
from rabbitjobs.policy.rules import Rule
from rabbitjobs.topology.model import TopologySpec


def check(registry: Registry, spec: TopologySpec, namespace: str | None) -> list[str]:
    """Raise ``ConfigError`` for every error; the warnings are returned.

    Errors: a job's queue or retry policy that the config lacks, a rule that names an unknown
    policy, a namespace that differs. Warnings: a queue of the config that no job here uses.
    """
    problems = [*_namespace(spec, namespace), *_pools(spec)]
    for definition in registry:
        problems.extend(_job(definition, spec))
    if problems:
        raise ConfigError(tuple(problems))
    if not spec.file:
        return []
    used = set(registry.queues())
    return [
        f"{spec.where(queue.line)}: no job here uses queue {name!r}"
        for name, queue in spec.queues.items()
        if name not in used
    ]


def check_namespace(spec: TopologySpec, namespace: str | None) -> None:
    """Raise ``ConfigError`` where the app's namespace is another one than the config's."""
    if problems := tuple(_namespace(spec, namespace)):
        raise ConfigError(problems)


def _namespace(spec: TopologySpec, namespace: str | None) -> Iterator[Problem]:
    if namespace is not None and namespace != spec.namespace:
        expected = f"{namespace!r}, as the app says"
        yield Problem(spec.file, spec.namespace_line, "namespace", expected, repr(spec.namespace))


def _pools(spec: TopologySpec) -> Iterator[Problem]:
    for name, queue in spec.queues.items():
        if queue.pool is not None and _unknown(queue.pool):
            yield Problem(
                spec.file,
                queue.pool_line,
                f"queues.{name}.pool",
                f"a pool ({', '.join(known_pools())}){nearest(queue.pool, known_pools())}",
                repr(queue.pool),
            )


def _unknown(pool: str) -> bool:
    return pool not in OURS and pool not in known_pools()


def _pool(definition: Definition, spec: TopologySpec) -> Iterator[tuple[str, str]]:
    """What was expected of a job's pool, and what was found."""
    if definition.pool is not None and _unknown(definition.pool):
        near = nearest(definition.pool, known_pools())
        yield f"a pool ({', '.join(known_pools())}){near}", repr(definition.pool)
        return
    queue = spec.queues.get(definition.queue)
    name = definition.pool or (queue.pool if queue else None)
    fault = fault_of(name, definition) if name and definition.function else None
    if fault:
        kind = "an async def" if definition.is_async else "a def"
        yield fault, f"{kind} in pool {name!r}"


def _job(definition: Definition, spec: TopologySpec) -> Iterator[Problem]:
    file, _, line = definition.source.rpartition(":")
    place = f"job {definition.name}"
    at = int(line or 0)
    if definition.queue not in spec.queues:
        yield Problem(
            file,
            at,
            place,
            f"a queue of {_config(spec)}{nearest(definition.queue, spec.queues)}",
            repr(definition.queue),
        )
    for expected, got in _pool(definition, spec):
        yield Problem(file, at, place, expected, got)
    for name in _policies(definition):
        if name not in spec.retry:
            yield Problem(
                file,
                at,
                place,
                f"a retry policy of {_config(spec)}{nearest(name, spec.retry)}",
                repr(name),
            )


def _config(spec: TopologySpec) -> str:
    return spec.file or "a config (config/topology.yaml; there is none)"


def _policies(definition: Definition) -> Iterable[str]:
    if definition.retry is not None:
        yield definition.retry
    for rule in definition.rules:
        step: Rule | None = rule
        while step is not None:
            if step.policy is not None:
                yield step.policy
            step = step.then

"""Code against config: every mismatch at once, before anything is consumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rabbitjobs.app.finding import nearest
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
    problems = list(_namespace(spec, namespace))
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

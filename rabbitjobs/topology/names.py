"""The name of every object on the broker: pure, one function each, checked against AMQP's limit.

The family word right after the namespace keeps names apart, whatever dots a queue's name has.
"""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from functools import lru_cache
from typing import Final

from rabbitjobs.clock import format_duration
from rabbitjobs.errors import ConfigError, Problem

MAX_BYTES: Final = 255
LEVELS: Final = 28
"""Levels of the delay ladder; level n delays by 2^n seconds, all of them by 8.5 years."""
LONGEST: Final = timedelta(seconds=2**LEVELS - 1)
MAX_WORDS: Final = LEVELS
"""More dotted words than this in a queue's name could be taken for a key of the ladder."""
FAIL_KINDS: Final = ("review", "notify", "ignored", "quarantine")
WORKER_BYTES: Final = 150
"""So much of a worker's name stands in that of its queue."""
_LADDER_BYTES: Final = 2 * LEVELS
_LONGEST_DELAY: Final = "3106d23h59m59s999ms"


def jobs_exchange(namespace: str) -> str:
    """Where publishers write; the routing key is the queue's name in the config."""
    return _name(namespace, "jobs")


def work_queue(namespace: str, queue: str) -> str:
    """The queue that consumers of ``queue`` read."""
    return _name(namespace, "q", queue)


def retry_queue(namespace: str, queue: str, delay: timedelta) -> str:
    """The queue in which jobs of ``queue`` wait for exactly ``delay``."""
    return _name(namespace, "retry", queue, format_duration(delay))


def landing_queue(namespace: str, queue: str) -> str:
    """Where the ladder ends for a queue with a length limit, so that it blocks no other queue."""
    return _name(namespace, "landing", queue)


def delay_exchange(namespace: str) -> str:
    """Where delayed jobs are published: into a retry queue or onto the ladder."""
    return _name(namespace, "delay")


def delay_level(namespace: str, level: int) -> str:
    """Queue and exchange of one step of the ladder: ``level`` n delays by 2^n seconds."""
    if not 0 <= level < LEVELS:
        raise ValueError(f"expected a ladder level from 0 to {LEVELS - 1}, got {level}")
    return _name(namespace, "delay", f"{level:02}")


def deliver_exchange(namespace: str) -> str:
    """Where retry and delay queues dead-letter to; no client can write there."""
    return _name(namespace, "deliver")


def fail_exchange(namespace: str) -> str:
    """Where failed jobs go, by kind."""
    return _name(namespace, "fail")


def review_queue(namespace: str, queue: str | None = None) -> str:
    """The review queue: the shared one, or ``queue``'s own."""
    return _name(namespace, "review", *([queue] if queue else []))


def notify_queue(namespace: str) -> str:
    """Failures somebody is told about."""
    return _name(namespace, "notify")


def ignored_queue(namespace: str) -> str:
    """The window of ignored jobs; the store keeps the record."""
    return _name(namespace, "ignored")


def quarantine_queue(namespace: str) -> str:
    """What cannot be decoded, and jobs nobody knows."""
    return _name(namespace, "quarantine")


def undeliverable_exchange(namespace: str) -> str:
    """The alternate behind the deliver exchange; no client can write there."""
    return _name(namespace, "undeliverable")


def undeliverable_queue(namespace: str) -> str:
    """Delayed jobs whose work queue is gone when they fall due."""
    return _name(namespace, "undeliverable")


def events_exchange(namespace: str) -> str:
    """Live events and wake-ups: the named exception from "mandatory and confirmed"."""
    return _name(namespace, "events")


def control_exchange(namespace: str) -> str:
    """Remote control of consumers: the named exception from "mandatory and confirmed"."""
    return _name(namespace, "control")


def control_queue(namespace: str, worker: str, token: str) -> str:
    """The queue by which one worker process hears of remote control; exclusive to it.

    The names of those that stand are the list of the workers that are there.
    """
    return f"{control_prefix(namespace)}{worker[:WORKER_BYTES]}.{token}"


def control_prefix(namespace: str) -> str:
    """What the names of all workers' control queues begin with."""
    return _name(namespace, "control", "worker") + "."


def worker_of(namespace: str, queue: str) -> str | None:
    """The worker whose control queue this is; ``None`` for another queue."""
    prefix = control_prefix(namespace)
    if not queue.startswith(prefix):
        return None
    return queue.removeprefix(prefix).rpartition(".")[0] or None


def reply_queue(namespace: str, token: str) -> str:
    """The queue in which one command waits for answers; exclusive to it."""
    return _name(namespace, "reply", token)


def retry_key(queue: str, delay: timedelta) -> str:
    """Routing key on the delay exchange that leads into the retry queue of this very delay."""
    return _short(f"retry.{format_duration(delay)}.{queue}")


def ladder_key(queue: str, seconds: int) -> str:
    """Routing key on the delay exchange for whole ``seconds``: one bit for each level."""
    return _short(f"{'.'.join(format(seconds, f'0{LEVELS}b'))}.{queue}")


def fail_key(kind: str, queue: str | None = None) -> str:
    """Routing key on the fail exchange; ``queue`` only for a review queue of its own."""
    return _short(f"{kind}.{queue}" if queue else kind)


def check_namespace(namespace: str) -> None:
    """Raise `ConfigError` unless ``namespace`` can prefix names on the broker."""
    if fault := namespace_fault(namespace):
        raise ConfigError((Problem("", 0, "namespace", fault, repr(namespace)),))


def check_queue(namespace: str, queue: str) -> None:
    """Raise `ConfigError` unless ``queue`` can be a work queue's name in the config."""
    if fault := queue_fault(namespace, queue):
        raise ConfigError((Problem("", 0, "queues", fault, repr(queue)),))


def namespace_fault(namespace: str) -> str | None:
    """What was expected of a namespace that cannot be used, else ``None``."""
    if namespace == "amq":
        return 'another namespace than "amq", which RabbitMQ keeps for itself'
    if "." in namespace:
        return "a namespace without dots (its objects are named <namespace>.jobs and so on)"
    if len(namespace.encode("utf-8", "replace")) > 40:
        return "a namespace of at most 40 bytes in UTF-8"
    return name_fault(namespace)


def queue_fault(namespace: str, queue: str) -> str | None:
    """What was expected of a queue's name that cannot be used, else ``None``."""
    if fault := name_fault(queue):
        return fault
    if queue.count(".") >= MAX_WORDS:
        return f"at most {MAX_WORDS} words between dots"
    spare = min(
        MAX_BYTES - len(f"{namespace}.retry..{_LONGEST_DELAY}".encode()),
        MAX_BYTES - _LADDER_BYTES,
    )
    size = len(queue.encode())
    if size > spare:
        return f"at most {spare} bytes in UTF-8 (AMQP names end at {MAX_BYTES}), not {size}"
    return None


def name_fault(name: str) -> str | None:
    """What was expected of any name that cannot be used on the broker, else ``None``."""
    if not name:
        return "a name that is not empty"
    if name != name.strip():
        return "a name without white space at its ends"
    if any(unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") for sign in name):
        return "a name without control characters"
    if not unicodedata.is_normalized("NFC", name):
        return "a name in Unicode's composed form (NFC), as code and config have to agree on it"
    if "*" in name or "#" in name:
        return "a name without * and # (they are wildcards in bindings)"
    if len(name.encode()) > MAX_BYTES:
        return f"at most {MAX_BYTES} bytes in UTF-8"
    return None


@lru_cache(maxsize=4096)
def _name(*parts: str) -> str:
    return _short(".".join(parts))


def _short(name: str) -> str:
    size = len(name.encode())
    if size > MAX_BYTES:
        raise ValueError(
            f"expected an AMQP name of at most {MAX_BYTES} bytes, got {size}: {name!r}"
        )
    return name

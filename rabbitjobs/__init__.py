"""rabbitjobs: reliable background jobs on RabbitMQ.

Nothing confirmed is ever lost, and nothing that failed is ever hidden. Start with `RabbitJobs`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rabbitjobs.app import RabbitJobs as RabbitJobs
    from rabbitjobs.backend.protocol import Status as Status
    from rabbitjobs.consumer.context import Context as Context
    from rabbitjobs.consumer.context import current as current
    from rabbitjobs.errors import RabbitJobsError as RabbitJobsError
    from rabbitjobs.errors import SoftTimeLimit as SoftTimeLimit
    from rabbitjobs.job.call import Call as Call
    from rabbitjobs.job.definition import Job as Job
    from rabbitjobs.job.handle import JobHandle as JobHandle
    from rabbitjobs.job.signals import Ignore as Ignore
    from rabbitjobs.job.signals import Retry as Retry
    from rabbitjobs.job.signals import Review as Review
    from rabbitjobs.policy import rules as rules
    from rabbitjobs.policy.concurrency import Concurrency as Concurrency
    from rabbitjobs.policy.rate import rate as rate
    from rabbitjobs.publisher.publisher import Sent as Sent

_HOMES = {
    "Call": "job.call",
    "Concurrency": "policy.concurrency",
    "Context": "consumer.context",
    "Ignore": "job.signals",
    "Job": "job.definition",
    "JobHandle": "job.handle",
    "RabbitJobs": "app",
    "RabbitJobsError": "errors",
    "Retry": "job.signals",
    "Review": "job.signals",
    "Sent": "publisher.publisher",
    "SoftTimeLimit": "errors",
    "Status": "backend.protocol",
    "current": "consumer.context",
    "rate": "policy.rate",
    "rules": "policy.rules",
}
__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{home}")
    value = module if name == "rules" else getattr(module, name)
    globals()[name] = value
    return value

"""The review desk of an app: what it publishes with and validates by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabbitjobs.errors import UnknownJob
from rabbitjobs.publisher.outcomes import error_of
from rabbitjobs.publisher.relay import outgoing_of_row
from rabbitjobs.review.desk import Desk

if TYPE_CHECKING:
    from rabbitjobs.app.application import RabbitJobs
    from rabbitjobs.store.engine import Store
    from rabbitjobs.store.outbox import OutboxRow


def make_desk(app: RabbitJobs, store: Store) -> Desk:
    """Put a desk together."""

    def publish(row: OutboxRow) -> None:
        outcome = app.publisher.publish(
            outgoing_of_row(row, app.spec), app.settings.deadline.total_seconds()
        )
        error = error_of(outcome, queue=row.queue, job=row.envelope.job, job_id=row.envelope.id)
        if error is not None:
            raise error

    def validate(job: str, body: bytes) -> None:
        definition = app.registry.get(job)
        if definition is None or definition.arguments is None:
            raise UnknownJob(
                "expected the job's code to check its arguments, got none; use --app", job=job
            )
        definition.arguments.decode(body)

    return Desk(store, publish, validate, keep=app.settings.keep.total_seconds())

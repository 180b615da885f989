"""The review desk of an app: what it publishes with and validates by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from rabbitjobs.errors import ArgumentsRefused, UnknownJob
from rabbitjobs.message.arguments import Parameter, decode_result
from rabbitjobs.publisher.outcomes import error_of
from rabbitjobs.publisher.relay import outgoing_of_row
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import DEFAULT

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

    def validate_result(job: str, result: bytes) -> None:
        definition = app.registry.get(job)
        if definition is None or definition.arguments is None:
            return  # nobody here can tell; the desk may be far from the code
        try:
            decode_result(result, definition.arguments.returns)
        except (msgspec.MsgspecError, TypeError, ValueError) as error:
            text = f"expected a result as the job returns it; {error}"
            raise ArgumentsRefused(text, job=job) from None

    def parameters(job: str) -> tuple[Parameter, ...]:
        definition = app.registry.get(job)
        if definition is None or definition.arguments is None:
            return ()
        return definition.arguments.parameters

    keep = app.settings.keep.total_seconds()
    return Desk(
        store,
        publish,
        validate,
        keep=keep,
        validate_result=validate_result,
        signing=app.parts.signing,
        options=app.settings.review or DEFAULT,
        parameters=parameters,
    )

"""The ending of an attempt whose outcome the store refuses for good (pure)."""

from __future__ import annotations

import msgspec

from rabbitjobs.ending.settlement import Outcome, Settlement, Terms, settlement
from rabbitjobs.policy.decision import Decision, Failure

ERROR_SHOWN = 2000


def unstorable(outcome: Outcome, why: str, terms: Terms) -> tuple[Outcome, Decision, Settlement]:
    """The ending of an attempt whose outcome the store refuses for good, because of ``why``.

    A person decides; when the store does not take that either, the message goes to quarantine
    without a record: it is seen there, and it does not come back.
    """
    before = outcome.failure
    again = before is not None and before.kind == "unstorable"
    if again or before is None:
        error = f"result could not be stored: {why}"
    else:
        error = f"failure could not be stored: {why}; it was {before.error_type}: {before.error}"
    failure = (
        before
        if before is not None and again
        else Failure(
            kind="unstorable",
            error_type=before.error_type if before else "rabbitjobs.errors.StoreRefused",
            error=error[:ERROR_SHOWN],
            traceback=before.traceback if before else "",
        )
    )
    decision = Decision(
        do="quarantine" if again else "review", rule="its outcome could not be stored"
    )
    ended = msgspec.structs.replace(outcome, result=None, failure=failure)
    plan = settlement(ended, decision, terms)
    return ended, decision, msgspec.structs.replace(plan, record=None) if again else plan

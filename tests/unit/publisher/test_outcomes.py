"""What became of a publish, as the error that its sender gets."""

from __future__ import annotations

import pytest

from rabbitjobs.errors import (
    BrokerBlocked,
    BrokerUnavailable,
    QueueFull,
    SendError,
    SendRefused,
    SendUnknown,
    TooLarge,
    Unroutable,
)
from rabbitjobs.publisher.outcomes import error_of
from rabbitjobs.wire.protocol import CONFIRMED, Rejected, Unknown


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Unknown("silence"), SendUnknown),
        (Rejected("unroutable", "t"), Unroutable),
        (Rejected("nacked", "t"), QueueFull),
        (Rejected("too-large", "t"), TooLarge),
        (Rejected("refused", "t", 403), SendRefused),
        (Rejected("refused", "t", 404), Unroutable),
        (Rejected("unavailable", "t"), BrokerUnavailable),
        (Rejected("blocked", "t"), BrokerBlocked),
    ],
)
def test_each_outcome_has_its_error(outcome: Rejected | Unknown, kind: type[SendError]) -> None:
    """With what it is about, and what to do."""
    error = error_of(outcome, queue="q", job="j", job_id="i")
    assert type(error) is kind
    assert (error.queue, error.job, error.job_id) == ("q", "j", "i")
    assert outcome.text in str(error)
    assert error_of(CONFIRMED) is None

"""Follow-ups and the deadline: what a context works out for its attempt."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from rabbitjobs import Call, Context, Job, RabbitJobs
from rabbitjobs.clock import derived_id, now
from rabbitjobs.errors import SendError, SendRejected, SendUnknown
from rabbitjobs.job.definition import define
from rabbitjobs.message.envelope import Envelope


class Outbox:
    """A sender that keeps what it is given."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.error: SendError | None = None

    def send(self, call: Call) -> Any:
        """Keep it, and fail if it is to."""
        self.calls.append(call)
        if self.error is not None:
            raise self.error

    async def asend(self, call: Call) -> Any:
        """See ``send``."""
        self.send(call)

    @property
    def ids(self) -> list[str | None]:
        """The ids of what was sent."""
        return [call.options.id for call in self.calls]


def context(job_id: str = "parent", attempt: int = 1, **more: Any) -> Context:
    """The context of a run."""
    envelope = Envelope(id=job_id, job="j", queue="q", body=b"{}", attempt=attempt, **more)
    return Context(envelope, lambda _job_id, _progress: None)


@pytest.fixture
def outbox() -> Outbox:
    """Where follow-ups go."""
    return Outbox()


@pytest.fixture
def mail(outbox: Outbox) -> Job[..., Any]:
    """A job to follow."""

    def send_mail(to: str) -> None: ...

    definition = define(
        send_mail, name="mail", queue="mails", retry=None, rules=(), ignore_result=False
    )
    return Job(definition, outbox)


def run(ctx: Context, mail: Job[..., Any], *to: str) -> None:
    """One run of a job that sends follow-ups."""
    for one in to:
        ctx.send(mail, one)


def test_a_rerun_makes_the_same_ids_in_whatever_order(mail: Job[..., Any], outbox: Outbox) -> None:
    """Each follow-up has its own, equal ones too."""
    run(context(), mail, "a", "b", "a")
    run(context(), mail, "b", "a", "a")
    first, second = outbox.ids[:3], outbox.ids[3:]
    assert len(set(first)) == 3
    assert set(first) == set(second)
    assert first[1] == second[0]


@pytest.mark.parametrize("other", [{"job_id": "another"}, {"attempt": 2}])
def test_another_job_or_attempt_makes_others(
    mail: Job[..., Any], outbox: Outbox, other: dict[str, Any]
) -> None:
    """A retry sends its own; its parent is another."""
    run(context(), mail, "a")
    run(context(**other), mail, "a")
    assert outbox.ids[0] != outbox.ids[1]


def test_what_differs_in_job_queue_or_arguments_has_another_id(
    mail: Job[..., Any], outbox: Outbox
) -> None:
    """Two jobs with one id would be one job, and one of them lost."""
    ctx = context()
    told = define(
        lambda to: None, name="letter", queue="mails", retry=None, rules=(), ignore_result=False
    )
    letter: Job[..., Any] = Job(told, outbox)
    for job, to in ((mail, "a"), (mail, "b"), (letter, "a"), (mail.options(queue="slow"), "a")):
        ctx.send(job, to)
    assert len(set(outbox.ids)) == 4


def test_an_id_of_the_senders_own_stays(mail: Job[..., Any], outbox: Outbox) -> None:
    """By a role, for arguments that differ from run to run."""
    ctx = context()
    ctx.send(mail.options(id=ctx.id_for("welcome")), f"at {now()}")
    assert outbox.ids == [context().id_for("welcome")]
    assert ctx.id_for("welcome") != ctx.id_for("farewell")


async def test_coroutines_and_calls_have_the_same_ids(mail: Job[..., Any], outbox: Outbox) -> None:
    """``asend`` and, for ``send_many``, ``call``."""
    await context().asend(mail, "a")
    assert context().call(mail, "a").options.id == outbox.ids[0]
    await asyncio.to_thread(context().send, mail, "a")
    assert outbox.ids[0] == outbox.ids[1]


def test_threads_of_one_job_get_different_ids(mail: Job[..., Any], outbox: Outbox) -> None:
    """However they meet."""
    ctx = context()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ctx.send(mail, "a"), range(200)))
    assert len(set(outbox.ids)) == 200


@pytest.mark.parametrize("error", [SendUnknown("who knows"), SendRejected("refused")])
async def test_what_was_not_sent_keeps_its_id(
    mail: Job[..., Any], outbox: Outbox, error: SendError
) -> None:
    """The send that follows is the same follow-up, not a second one."""
    ctx = context()
    ctx.send(mail, "a")
    outbox.error = error
    with pytest.raises(SendError):
        ctx.send(mail, "a")
    with pytest.raises(SendError):
        await ctx.asend(mail, "a")
    outbox.error = None
    ctx.send(mail, "a")
    ctx.send(mail, "a")
    first, unknown, again, sent, another = outbox.ids
    assert unknown == again == sent
    assert len({first, sent, another}) == 3


def test_a_derived_id_is_a_uuid_of_version_8() -> None:
    """So it fits wherever ours do; its parts cannot be shifted into each other."""
    found = derived_id("parent", 1, "role")
    assert (str(uuid.UUID(found)), uuid.UUID(found).version) == (found, 8)
    assert found == derived_id("parent", 1, "role")
    assert derived_id("p:1", 1, "r") != derived_id("p", 1, "1:r")


@pytest.mark.parametrize(
    ("soft", "hard", "expires", "left"),
    [
        (None, None, None, None),
        (5, None, None, 5),
        (5, 9, None, 5),
        (None, 9, None, 9),
        (5, 9, 2, 2),
        (None, None, 2, 2),
    ],
)
def test_the_deadline_is_the_earliest_of_limits_and_expiry(
    soft: int | None, hard: int | None, expires: int | None, left: int | None
) -> None:
    """In unix seconds; none without any of them."""
    at = now()
    ctx = context(expires=at + expires if expires is not None else None)
    limits = [timedelta(seconds=one) if one is not None else None for one in (soft, hard)]
    ctx.begins(*limits)
    if left is None:
        assert ctx.deadline is None
    else:
        assert ctx.deadline is not None and at + left <= ctx.deadline <= now() + left


def test_a_context_of_no_worker_sends_as_well() -> None:
    """In a unit test of a job, to whatever the app's jobs are sent by."""
    app = RabbitJobs("shop")

    @app.job("job")
    def job(number: int) -> None: ...

    assert Context.detached().call(job, 3).definition is job.definition

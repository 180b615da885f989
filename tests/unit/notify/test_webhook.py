"""Webhooks to a real HTTP server: signed, bounded, and only where they may go."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from rabbitjobs.errors import NotifyRefused, NotifyUnavailable
from rabbitjobs.notify.note import Completion, Note
from rabbitjobs.notify.on_done import check_url, post
from rabbitjobs.notify.options import OnDoneOptions, WebhookOptions
from rabbitjobs.notify.webhook import Post, WebhookChannel, secret_bytes, slack_text
from rabbitjobs.notify.wording import single

if TYPE_CHECKING:
    from tests.unit.notify.conftest import Receiver


async def send(receiver: Receiver, note: Note, **more: object) -> None:
    options = WebhookOptions(**{"url": receiver.url, **more})  # type: ignore[arg-type]
    channel = WebhookChannel(options, timeout=60)
    try:
        await channel.send(single(note, "shop"))
    finally:
        await channel.close()


async def test_a_failure_is_posted_as_json(
    receiver: Receiver, make_note: Callable[..., Note]
) -> None:
    """The body names the job, the error and what follows; nothing is signed without a secret."""
    await send(receiver, make_note())
    ((headers, _),) = receiver.requests
    assert receiver.bodies[0]["job_id"] == "id-1"
    assert receiver.bodies[0]["then"] == "review"
    assert headers["webhook-id"] == "id-1:1"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize("secret", ["plain words", "whsec_" + base64.b64encode(b"k" * 24).decode()])
async def test_a_secret_signs_id_time_and_body(
    receiver: Receiver, make_note: Callable[..., Note], secret: str
) -> None:
    """A receiver checks the signature as Standard Webhooks says."""
    await send(receiver, make_note(), secret=secret)
    ((headers, body),) = receiver.requests
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    mac = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(mac).decode()


async def test_the_slack_shape_escapes_markup(
    receiver: Receiver, make_note: Callable[..., Note]
) -> None:
    """An error text cannot call everybody in the channel or end the code block."""
    note = make_note(error="<!channel> ``` *hi* &")
    await send(receiver, note, shape="slack")
    text = receiver.bodies[0]["text"]
    assert set(receiver.bodies[0]) == {"text"}
    assert "&lt;!channel&gt;" in text and "&amp;" in text
    assert slack_text(single(note, "shop")).count("```") == 2


@pytest.mark.parametrize("status", [302, 400, 404, 429, 500, 503])
async def test_an_operators_webhook_that_answers_anything_but_2xx_is_tried_again(
    receiver: Receiver, make_note: Callable[..., Note], status: int
) -> None:
    """The URL's secret part stays out of the error."""
    receiver.status = status
    with pytest.raises(NotifyUnavailable, match=str(status)) as caught:
        await send(receiver, make_note())
    assert "very-secret" not in str(caught.value)


async def test_a_redirect_is_not_followed(
    receiver: Receiver, make_note: Callable[..., Note]
) -> None:
    """A receiver cannot send us elsewhere."""
    receiver.status, receiver.location = 307, receiver.url
    with pytest.raises(NotifyUnavailable):
        await send(receiver, make_note())
    assert len(receiver.requests) == 1


ALLOW = OnDoneOptions(
    allow=("hooks.shop.example", "localhost:8080", "*.partner.example", "[::1]:81")
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.shop.example/x",
        "http://HOOKS.shop.example:80/x?y=1",
        "https://hooks.shop.example.:443/",
        "http://localhost:8080/done",
        "https://a.b.partner.example/",
        "http://[::1]:81/",
    ],
)
def test_a_url_to_an_allowed_host_is_taken(url: str) -> None:
    """Hosts, hosts with a port, and all hosts below a domain."""
    check_url(url, ALLOW)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/",
        "http://localhost:5672/",
        "https://hooks.shop.example:8443/",
        "https://hooks.shop.example@evil.example/",
        "https://user:pw@hooks.shop.example/",
        "https://evil.example#hooks.shop.example",
        "https://evil.example\\@hooks.shop.example/",
        "https://hooks.shop.example\n.evil.example/",
        "https://partner.example/",
        "https://evilpartner.example/",
        "ftp://hooks.shop.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//hooks.shop.example/",
        "hooks.shop.example",
        "https://hooks.shop.example:99999/",
        "https://[::1/",
        "",
    ],
)
def test_any_other_url_is_refused(url: str) -> None:
    """Other hosts, other ports, tricks with user names, and everything that is not http."""
    with pytest.raises(NotifyRefused):
        check_url(url, ALLOW)


def test_nothing_is_allowed_by_default() -> None:
    """Without notify.on_done.allow no caller can make the notifier call anything."""
    with pytest.raises(NotifyRefused, match=r"notify\.on_done\.allow"):
        check_url("https://hooks.shop.example/", OnDoneOptions())


class TestCompletion:
    """The webhook that a caller asked for."""

    def done(self, url: str) -> Completion:
        return Completion(job_id="i", job="j", queue="q", status="succeeded", url=url, ended=100.0)

    def options(self, receiver: Receiver) -> OnDoneOptions:
        return OnDoneOptions(allow=(f"127.0.0.1:{receiver.port}",), give_up=timedelta(hours=1))

    async def test_it_is_posted_with_an_id_of_its_own(self, receiver: Receiver) -> None:
        """The receiver may deduplicate by the id."""
        sender = Post(timeout=60)
        await post(self.done(receiver.url), self.options(receiver), sender, now=101.0)
        assert receiver.bodies[0]["status"] == "succeeded"
        assert receiver.requests[0][0]["webhook-id"] == "i:done"

    async def test_a_passing_fault_is_raised_until_it_is_too_old(
        self, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A dead receiver does not hold the queue for ever, and what was given up is logged."""
        receiver.status = 503
        options, sender = self.options(receiver), Post(timeout=60)
        with pytest.raises(NotifyUnavailable):
            await post(self.done(receiver.url), options, sender, now=101.0)
        with caplog.at_level(logging.ERROR, "rabbitjobs.notify"):
            await post(self.done(receiver.url), options, sender, now=100.0 + 3600)
        assert caplog.records[0].__dict__["job_id"] == "i"

    @pytest.mark.parametrize("status", [301, 400, 404, 410])
    async def test_a_final_refusal_is_logged_and_over(
        self, receiver: Receiver, status: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A 404 will be one tomorrow: the note is handled, the log names the job."""
        receiver.status = status
        with caplog.at_level(logging.ERROR, "rabbitjobs.notify"):
            await post(self.done(receiver.url), self.options(receiver), Post(timeout=60), now=101.0)
        assert str(status) in caplog.text
        assert "very-secret" not in caplog.text

    async def test_a_host_that_is_not_allowed_is_never_called(
        self, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The check is made again before posting: the message may come from a stranger."""
        with caplog.at_level(logging.ERROR, "rabbitjobs.notify"):
            await post(self.done(receiver.url), OnDoneOptions(), Post(timeout=60), now=101.0)
        assert receiver.requests == []
        assert "on_done.allow" in caplog.text

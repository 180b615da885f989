"""Mail through a real SMTP server."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from rabbitjobs.errors import NotifyUnavailable
from rabbitjobs.notify.mail import MailChannel, compose
from rabbitjobs.notify.note import Note
from rabbitjobs.notify.options import MailOptions
from rabbitjobs.notify.wording import single

if TYPE_CHECKING:
    from tests.unit.notify.conftest import Mailbox


def options(port: int, **more: object) -> MailOptions:
    given = {"host": "127.0.0.1", "port": port, "tls": "none", "sender": "jobs@shop.example"}
    return MailOptions(**{**given, "to": ("ops@shop.example", "it@shop.example"), **more})  # type: ignore[arg-type]


def channel(port: int, **more: object) -> MailChannel:
    return MailChannel(options(port, **more), timeout=60)


async def test_a_failure_arrives_as_a_mail(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """One mail to all addresses, marked as written by a machine."""
    await channel(mailbox.port).send(single(make_note(), "shop"))
    ((sender, receivers, text),) = mailbox.mails
    assert sender == "jobs@shop.example"
    assert receivers == ["ops@shop.example", "it@shop.example"]
    assert "Subject: [shop] emails.send failed: TimeoutError" in text
    assert "Auto-Submitted: auto-generated" in text
    assert "Message-ID: <id-1-1@shop.example>" in text
    assert "no answer to 1" in text


async def test_a_job_name_cannot_add_a_header(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """A line break in a job's name or error does not become a Bcc."""
    note = make_note(job="x\r\nBcc: thief@evil.example\r\n\r\nhi", error_type="E\nTo: a@b.example")
    await channel(mailbox.port).send(single(note, "shop\r\nX-Evil: 1"))
    ((_, receivers, text),) = mailbox.mails
    head = text.replace("\r\n", "\n").partition("\n\n")[0]
    names = {row.partition(":")[0].lower() for row in head.split("\n") if row[:1] not in " \t"}
    assert receivers == ["ops@shop.example", "it@shop.example"]
    assert not names & {"bcc", "x-evil"}
    assert len([row for row in head.split("\n") if row.lower().startswith("to:")]) == 1


def test_names_outside_ascii_are_encoded(make_note: Callable[..., Note]) -> None:
    """A Korean job name makes a valid mail."""
    mail = compose(single(make_note(job="주문.확인"), "가게"), options(25)).as_bytes()
    assert mail.isascii()


async def test_a_refusing_server_means_not_sent(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """Temporary and permanent refusals both keep the note: the config can be mended."""
    for answer in ("451 greylisted", "554 no"):
        mailbox.refuse_with = answer
        with pytest.raises(NotifyUnavailable, match=answer[:3]):
            await channel(mailbox.port).send(single(make_note(), "shop"))


async def test_a_server_that_is_down_means_not_sent(
    mailbox: Mailbox, make_note: Callable[..., Note]
) -> None:
    """A refused connection is reported with host and port."""
    await mailbox.stop()
    with pytest.raises(NotifyUnavailable, match=f"127.0.0.1:{mailbox.port}"):
        await channel(mailbox.port).send(single(make_note(), "shop"))


class TestTls:
    """STARTTLS, the certificate check and the password."""

    async def test_a_password_travels_under_tls_only(
        self,
        mailbox: Mailbox,
        make_note: Callable[..., Note],
        localhost_tls: ssl.SSLContext,
        localhost_ca: str,
    ) -> None:
        """With the right authority file the server's certificate is taken and the login works."""
        await mailbox.stop()
        await mailbox.start(tls=localhost_tls)
        secure = channel(
            mailbox.port, tls="starttls", user="jobs", password="hunter2", ca=localhost_ca
        )
        await secure.send(single(make_note(), "shop"))
        assert len(mailbox.mails) == 1

    async def test_a_self_signed_certificate_is_refused(
        self, mailbox: Mailbox, make_note: Callable[..., Note], localhost_tls: ssl.SSLContext
    ) -> None:
        """Without the authority nothing is sent, the password least of all."""
        await mailbox.stop()
        await mailbox.start(tls=localhost_tls)
        with pytest.raises(NotifyUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await channel(mailbox.port, tls="starttls").send(single(make_note(), "shop"))

    async def test_a_wrong_password_does_not_show_in_the_error(
        self,
        mailbox: Mailbox,
        make_note: Callable[..., Note],
        localhost_tls: ssl.SSLContext,
        localhost_ca: str,
    ) -> None:
        """Neither the error nor the options' repr tells it."""
        await mailbox.stop()
        await mailbox.start(tls=localhost_tls)
        given = options(
            mailbox.port, tls="starttls", user="jobs", password="s3cret", ca=localhost_ca
        )
        with pytest.raises(NotifyUnavailable) as caught:
            await MailChannel(given, timeout=1).send(single(make_note(), "shop"))
        assert "s3cret" not in str(caught.value) + repr(given)

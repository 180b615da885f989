"""Mail through SMTP (RFC 5321), with the standard library's client in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import smtplib
import ssl
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from email.utils import formatdate, parseaddr

from rabbitjobs.errors import NotifyUnavailable
from rabbitjobs.notify.options import MailOptions
from rabbitjobs.notify.wording import Message, one_line

_log = logging.getLogger("rabbitjobs.notify")


class MailChannel:
    """Sends each message as one plain-text mail to all addresses, over a fresh connection."""

    capped = True

    def __init__(self, options: MailOptions, *, timeout: float) -> None:
        self.name = options.name
        self._options = options
        self._timeout = timeout

    async def send(self, message: Message) -> None:
        """Send the mail; returning means that the server has taken it for at least one address.

        Raises ``NotifyUnavailable`` for every refusal, the permanent ones included: a wrong
        password or address is mended in the config, and until then the notes stay in the queue.
        """
        try:
            refused = await asyncio.to_thread(self._send, compose(message, self._options))
        except (OSError, smtplib.SMTPException) as error:
            reason = one_line(f"{type(error).__name__}: {error}", 300)
            raise NotifyUnavailable(
                f"expected {self._options.host}:{self._options.port} to take a mail, got {reason}; "
                "check notify.channels and the server"
            ) from error
        for address in refused:
            _log.error("the mail server refused the address %s", one_line(address))

    async def close(self) -> None:
        """Nothing to give back: no connection outlives its mail."""

    def _send(self, mail: EmailMessage) -> dict[str, tuple[int, bytes]]:
        options = self._options
        with self._connect() as server:
            if options.tls == "starttls":
                server.starttls(context=self._context())
            if options.user is not None and options.password is not None:
                server.login(options.user, options.password)
            return server.send_message(mail)

    def _connect(self) -> smtplib.SMTP:
        options = self._options
        if options.tls == "implicit":
            return smtplib.SMTP_SSL(
                options.host, options.port, timeout=self._timeout, context=self._context()
            )
        return smtplib.SMTP(options.host, options.port, timeout=self._timeout)

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._options.ca)


def compose(message: Message, options: MailOptions) -> EmailMessage:
    """The mail for ``message``: headers on one line each, whatever stands in a job's name.

    The Message-ID follows from the message's id, so that a mail sent twice can be seen as one.
    """
    mail = EmailMessage(policy=SMTP_POLICY)
    mail["Subject"] = one_line(message.subject, 200)
    mail["From"] = options.sender
    mail["To"] = ", ".join(options.to)
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{_token(message.id)}@{_domain(options.sender)}>"
    mail["Auto-Submitted"] = "auto-generated"
    # Not 8bit: a relay without 8BITMIME, or with RFC 5321's limit on lines, would refuse it.
    plain = message.text.isascii() and max(map(len, message.text.splitlines())) < 900
    mail.set_content(message.text, cte="7bit" if plain else "quoted-printable")
    return mail


def _token(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)[:120]


def _domain(sender: str) -> str:
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return domain if domain.isascii() and domain else "localhost"

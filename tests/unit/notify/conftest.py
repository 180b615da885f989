"""Real servers on loopback: an SMTP server and an HTTP server that can refuse and go down."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from rabbitjobs.notify.note import Note
from rabbitjobs.policy.decision import Failure
from tests.certificates import Authority


def a_note(number: int = 1, *, attempt: int = 1, job: str = "emails.send", **failure: Any) -> Note:
    """A failed attempt of job number ``number``."""
    given = {"kind": "error", "error_type": "TimeoutError", "error": f"no answer to {number}"}
    return Note(
        job=job,
        queue="emails",
        job_id=f"id-{number}",
        attempt=attempt,
        failure=Failure(**{**given, **failure}),
        rule="queue emails: * -> notify",
        then="review",
        at=1_700_000_000.0 + number,
    )


class Mailbox:
    """An SMTP server that keeps what it takes."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], str]] = []
        self.refuse_with: str | None = None
        self.accept_user = ("jobs", "hunter2")
        self.port = 0
        self._server: asyncio.Server | None = None

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse_with is not None:
            return self.refuse_with
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content.decode()))
        return "250 taken"

    def authenticate(self, server: Any, session: Any, envelope: Any, how: str, data: Any) -> Any:
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self.accept_user)

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(
                self,
                hostname="localhost",
                tls_context=tls,
                require_starttls=tls is not None,
                authenticator=self.authenticate,
                auth_require_tls=True,
            ),
            "127.0.0.1",
            self.port,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


class Receiver:
    """An HTTP server that keeps the requests and answers with ``status``."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.location: str | None = None
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=very-secret"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(body) for _, body in self.requests]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        rows = [row.split(": ", 1) for row in head.split("\r\n")[1:] if row]
        headers = {name.lower(): value for name, value in rows}
        body = await reader.readexactly(int(headers["content-length"]))
        self.requests.append((headers, body))
        extra = f"location: {self.location}\r\n" if self.location else ""
        writer.write(f"HTTP/1.1 {self.status} x\r\n{extra}content-length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


@pytest.fixture
def make_note() -> Callable[..., Note]:
    return a_note


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    box = Mailbox()
    await box.start()
    yield box
    await box.stop()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    server = Receiver()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that signs the test servers' certificates."""
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def localhost_tls(authority: Authority) -> ssl.SSLContext:
    """TLS for a server on this machine."""
    return authority.certify("localhost", "localhost", "127.0.0.1").server_context()


@pytest.fixture
def localhost_ca(authority: Authority) -> str:
    """The file of the authority that signed the test servers' certificate."""
    return str(authority.cert)

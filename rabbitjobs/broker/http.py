"""HTTP with JSON over one connection that is kept: all that the management API asks of a client.

The standard library's, because every worker asks that API when it starts: httpx takes 40 ms to
import.
"""

from __future__ import annotations

import json
import ssl
import threading
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from rabbitjobs.secret import Secret


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said: the HTTP status and the body."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of 200 to 299."""
        return 200 <= self.status < 300

    @property
    def text(self) -> str:
        """The body as text; what is not UTF-8 in it is replaced."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body read as JSON; raises ``ValueError`` when it is none."""
        return json.loads(self.body)


class _TlsConnection(HTTPSConnection):
    """Its server goes by ``server_name``: asked for, and expected in the certificate."""

    def __init__(
        self,
        host: str,
        port: int | None,
        *,
        timeout: float,
        context: ssl.SSLContext,
        server_name: str,
    ) -> None:
        super().__init__(host, port, timeout=timeout, context=context)
        self._tls, self._server_name = context, server_name

    def connect(self) -> None:
        """See ``HTTPSConnection``, which takes the host's own name."""
        HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._server_name)


class HttpConnection:
    """Requests to one server, one at a time; opened at the first, and again when it was cut.

    ``url`` may have a path, which stands before that of each request. With ``context`` it is HTTPS,
    and the server must prove to be ``server_name``, else the host of the URL. ``timeout`` is in
    seconds, for each step of a request. No proxy is used: it would see the password. Safe to share
    between threads.
    """

    def __init__(
        self,
        url: str,
        *,
        user: str,
        password: Secret,
        timeout: float,
        context: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        self._connection: HTTPConnection = (
            HTTPConnection(host, port, timeout=timeout)
            if context is None
            else _TlsConnection(
                host, port, timeout=timeout, context=context, server_name=server_name or host
            )
        )
        self._path = parts.path.rstrip("/")
        self._user = user
        self._password = password
        self._one_at_a_time = threading.Lock()

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Send a request that may be sent twice, and wait for the answer.

        Raises ``OSError`` or ``http.client.HTTPException`` when none comes.
        """
        with self._one_at_a_time:
            kept = self._connection.sock is not None
            try:
                return self._ask(method, path, body)
            except (ConnectionError, HTTPException):
                # A server closes a connection that was quiet for a while.
                if not kept:
                    raise
            return self._ask(method, path, body)

    def close(self) -> None:
        """Close the connection; a later request opens another."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        login = f"{self._user}:{self._password.reveal()}".encode()
        headers = {"Authorization": f"Basic {b64encode(login).decode()}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else json.dumps(body).encode()
        try:
            self._connection.request(method, f"{self._path}/{path}", content, headers)
            response = self._connection.getresponse()
            return Answer(response.status, response.read())
        except BaseException:
            self._connection.close()  # what is left of the answer must not meet the next request
            raise

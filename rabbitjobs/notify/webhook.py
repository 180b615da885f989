"""Webhooks: an HTTP POST of JSON, signed as Standard Webhooks 1.0 says where a secret is set."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rabbitjobs.errors import NotifyRefused, NotifyUnavailable
from rabbitjobs.notify.options import WebhookOptions
from rabbitjobs.notify.wording import Message, one_line

if TYPE_CHECKING:
    import httpx

# What a later try can change: timeouts, conflicts of time, rate limits.
PASSING = frozenset({408, 409, 423, 425, 429})


class WebhookChannel:
    """Posts each message to one URL that the operator configured."""

    capped = True

    def __init__(self, options: WebhookOptions, *, timeout: float) -> None:
        self.name = options.name
        self._options = options
        self._post = Post(timeout=timeout)

    async def send(self, message: Message) -> None:
        """Post the message; returning means that the receiver answered 2xx.

        Raises ``NotifyUnavailable`` for every other answer: a wrong URL is mended in the config,
        and until then the notes stay in the queue.
        """
        slack = self._options.shape == "slack"
        body = {"text": slack_text(message)} if slack else dict(message.data)
        try:
            await self._post.send(self._options.url, message.id, body, self._options.secret)
        except NotifyRefused as error:
            raise NotifyUnavailable(error.text) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._post.close()


class Post:
    """Posts JSON with a deadline; follows no redirect and reads no proxy from the environment."""

    def __init__(self, *, timeout: float) -> None:
        self._timeout = timeout
        self._client: httpx.AsyncClient | None = None

    async def send(
        self, url: str, message_id: str, body: Mapping[str, Any], secret: str | None
    ) -> None:
        """Post ``body``; returning means 2xx.

        Raises ``NotifyUnavailable`` where a later try can help (no answer, 5xx, 429, ...), and
        ``NotifyRefused`` where it cannot (another 3xx or 4xx, a URL that is none).
        """
        import httpx

        content = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        headers = {"content-type": "application/json", **sign(content, message_id, secret)}
        try:
            # Streamed and never read: only the status counts, and a body could be endless.
            async with (
                asyncio.timeout(self._timeout),
                self._opened().stream("POST", url, content=content, headers=headers) as answer,
            ):
                status = answer.status_code
        except httpx.InvalidURL as error:
            raise NotifyRefused(f"expected a URL to post to, got {error}; mend it") from error
        except (httpx.HTTPError, TimeoutError) as error:
            raise NotifyUnavailable(
                f"expected an answer from {host_of(url)}, got {one_line(repr(error), 200)}; "
                "it is tried again"
            ) from error
        if 200 <= status < 300:
            return
        text = f"expected 2xx from {host_of(url)}, got {status}; check the receiver"
        if status >= 500 or status in PASSING:
            raise NotifyUnavailable(text)
        raise NotifyRefused(text)

    async def close(self) -> None:
        """Close the connections; the next ``send`` opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _opened(self) -> httpx.AsyncClient:
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=self._timeout, follow_redirects=False, trust_env=False
            )
        return self._client


def sign(content: bytes, message_id: str, secret: str | None) -> dict[str, str]:
    """The headers of Standard Webhooks 1.0: id and time always, the signature with a secret.

    The signature is HMAC-SHA256 over ``id.timestamp.body``, base64, after ``v1,``. A secret that
    begins with ``whsec_`` is base64; any other is used as its UTF-8 bytes. The id stays the same
    over all tries: receivers deduplicate by it.
    """
    message_id = one_line(message_id).encode("ascii", "replace").decode()
    stamp = str(int(time.time()))
    headers = {"webhook-id": message_id, "webhook-timestamp": stamp}
    if secret is not None:
        signed = f"{message_id}.{stamp}.".encode() + content
        mac = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = "v1," + base64.b64encode(mac).decode()
    return headers


def secret_bytes(secret: str) -> bytes:
    """The key that a configured secret stands for."""
    if secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            pass
    return secret.encode()


def slack_text(message: Message) -> str:
    """The message as Slack's mrkdwn: bold subject, text as code, its three characters escaped."""

    def escaped(text: str) -> str:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    # A fence inside the text would end the code block and let a job's error write markup.
    text = escaped(message.text).replace("```", "'''")
    return f"*{escaped(message.subject)}*\n```{text[:3500]}```"


def host_of(url: str) -> str:
    """The host and port of a URL for a log line: the rest of a webhook's URL is often a secret."""
    rest = url.partition("://")[2]
    return one_line(rest.split("/")[0].split("?")[0].rpartition("@")[2] or "the URL", 200)

"""The body of a request, read as far as it may go, and handed on as if nobody had read it."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

STRANGER_BYTES = 64 * 1024
# The broker's own limit for a message is 16 MiB; a form writes a byte as three.
PERSON_BYTES = 48 * 1024 * 1024
SECONDS = 60.0
_FIELDS_MOST = 20_000


async def read_body(headers: Headers, receive: Receive, *, most: int) -> bytes:
    """The whole body; ``HTTPException`` 413 for more than ``most`` bytes, 408 for one that does
    not come."""
    told = headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit():
        raise HTTPException(400, "expected a Content-Length that is a number")
    if int(told[:20]) > most:
        raise _too_large(most)
    chunks, size = [], 0
    try:
        async with asyncio.timeout(SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise HTTPException(400, "expected the whole body, got the end of the line")
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > most:
                    raise _too_large(most)
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        raise HTTPException(408, f"expected the whole body within {SECONDS:.0f} s") from None


def _too_large(most: int) -> HTTPException:
    text = f"expected a body of up to {most} bytes, got a larger one"
    return HTTPException(413, text, {"Connection": "close"})


def again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, and then what the connection says."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give


def is_form(headers: Headers) -> bool:
    """Whether the body is a plain form."""
    return _media(headers) == "application/x-www-form-urlencoded"


def is_json(headers: Headers) -> bool:
    """Whether the body is JSON: what no form of another site can send without asking."""
    return _media(headers) == "application/json"


def field(body: bytes, name: str) -> str:
    """A field of a plain form; empty if it is not there, or there twice."""
    try:
        found = parse_qs(body, max_num_fields=_FIELDS_MOST).get(name.encode(), [])
    except ValueError:
        raise HTTPException(413, f"expected a form of up to {_FIELDS_MOST} fields") from None
    return found[0].decode("utf-8", "replace") if len(found) == 1 else ""


def _media(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()

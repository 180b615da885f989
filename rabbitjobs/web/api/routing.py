"""The API as routes: reads a call, runs it on a thread, writes the answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from rabbitjobs.web.api import acting, bulks, cases, people
from rabbitjobs.web.api.given import CaseWhole
from rabbitjobs.web.api.openapi import document
from rabbitjobs.web.api.operation import Call, Operation, read_body, read_query, read_version
from rabbitjobs.web.service import Service

OPERATIONS = (
    *cases.OPERATIONS, *acting.OPERATIONS, *bulks.OPERATIONS, *people.OPERATIONS,
)  # fmt: skip
JSON = "application/json"
Endpoint = Callable[[Request], Awaitable[Response]]


def routes() -> list[BaseRoute]:
    """All of it, below ``/api``; the guard has set the state of each request."""
    by_path: dict[str, list[Operation]] = {}
    for one in OPERATIONS:
        by_path.setdefault(one.path, []).append(one)
    inside = [
        Route(path, _endpoint(listed), methods=[one.method for one in listed])
        for path, listed in by_path.items()
    ]
    return [Mount("/api", routes=[Route("/openapi.json", _openapi), *inside], name="api")]


def _endpoint(listed: Iterable[Operation]) -> Endpoint:
    """One route for a path, whatever its methods: a wrong one is told all that there are."""
    by_method = {one.method: one for one in listed}

    async def endpoint(request: Request) -> Response:
        operation = by_method["GET" if request.method == "HEAD" else request.method]
        call = await _read(operation, request)
        return await run_in_threadpool(_answer, operation, call)

    return endpoint


async def _read(operation: Operation, request: Request) -> Call:
    state = request.state
    return Call(
        service=state.service,
        desk=state.desk,
        visitor=state.visitor,
        person=state.person,
        path=request.path_params,
        query=read_query(operation, request.query_params),
        body=read_body(operation, request.headers, await request.body()),
        version=read_version(operation, request.headers),
    )


def _answer(operation: Operation, call: Call) -> Response:
    found = operation.handle(call)
    if operation.gives is None:
        return Response(status_code=operation.status)
    if operation.stream:
        return _streamed(*found)
    headers = {"ETag": f'"{found.version}"'} if isinstance(found, CaseWhole) else None
    return Response(encoded(found), operation.status, headers, JSON)


def _streamed(media: str, lines: Iterator[str]) -> Response:
    # The first line is looked for now: what is refused has a status of its own then.
    first = next(lines, None)
    every = chain(() if first is None else (first,), lines)
    name = "cases.csv" if media == "text/csv" else "cases.jsonl"
    return StreamingResponse(
        (f"{line}\r\n" if media == "text/csv" else f"{line}\n" for line in every),
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
        media_type=media,
    )


def encoded(value: Any) -> bytes:
    """A value as JSON, also where a message held text that no UTF-8 can."""
    try:
        return msgspec.json.encode(value, enc_hook=repr)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, enc_hook=repr)).encode("ascii")


async def _openapi(request: Request) -> Response:
    if request.method not in ("GET", "HEAD"):
        raise HTTPException(405)
    service: Service = request.state.service
    prefix = str(request.scope["root_path"])
    return Response(
        encoded(document(OPERATIONS, title=service.title, prefix=prefix)), media_type=JSON
    )

"""One operation of the API as a value: what it takes, what it gives, and the function behind it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from starlette.datastructures import Headers, QueryParams
from starlette.exceptions import HTTPException

from rabbitjobs.review.desk import Desk
from rabbitjobs.review.options import Person
from rabbitjobs.web.api.asked import Body, Query
from rabbitjobs.web.reading import is_json
from rabbitjobs.web.service import Service
from rabbitjobs.web.visitor import Visitor

_VERSION = re.compile(r'"(\d{1,18})"')


class Call(NamedTuple):
    """One call of an operation, read and checked."""

    service: Service
    desk: Desk
    visitor: Visitor
    person: Person
    path: Mapping[str, str]
    query: Any
    body: Any
    version: int

    @property
    def who(self) -> str:
        """The name of who calls."""
        return self.person.name


class Operation(NamedTuple):
    """One operation. ``gives`` is the type of its answer, ``None``: nothing (204).

    ``fenced``: it needs If-Match with the version of the case. ``stream``: the media types of an
    answer that is text, line by line. ``errors`` are the statuses besides those of them all.
    """

    method: str
    path: str
    name: str
    summary: str
    handle: Callable[[Call], Any]
    gives: Any = None
    query: type[msgspec.Struct] = Query
    body: type[msgspec.Struct] | None = None
    status: int = 200
    fenced: bool = False
    stream: tuple[str, ...] = ()
    errors: tuple[int, ...] = ()
    tag: str = "cases"

    @property
    def body_needed(self) -> bool:
        """Whether it cannot be called without a body."""
        return self.body is not None and any(
            one.required for one in msgspec.structs.fields(self.body)
        )


def read_query(operation: Operation, given: QueryParams) -> Any:
    """The query as the operation's type; ``HTTPException`` 422 for what does not fit."""
    pairs = given.multi_items()
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise HTTPException(422, "expected each field of the query once")
    try:
        return msgspec.convert(fields, operation.query, strict=False)
    except msgspec.ValidationError as error:
        raise HTTPException(422, f"{error}, in the query") from None


def read_body(operation: Operation, headers: Headers, body: bytes) -> Any:
    """The body as the operation's type; ``HTTPException`` 400, 415 or 422 for what does not fit."""
    kind = operation.body
    if kind is None:
        return Body()
    if not body and not operation.body_needed:
        return kind()
    if not is_json(headers):
        raise HTTPException(415, "expected a body of application/json")
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise HTTPException(422, str(error)) from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise HTTPException(400, f"expected JSON; {error}") from None
    except RecursionError:
        raise HTTPException(400, "expected JSON that is not nested so deep") from None


def read_version(operation: Operation, headers: Headers) -> int:
    """The version of the case that the caller saw; 428 without one, 400 for one that is none."""
    if not operation.fenced:
        return 0
    said = headers.get("if-match")
    if said is None:
        raise HTTPException(428, "expected If-Match with the ETag of the case as you saw it")
    found = _VERSION.fullmatch(said.strip())
    if found is None:
        raise HTTPException(400, 'expected If-Match with the version of the case, such as "7"')
    return int(found[1])

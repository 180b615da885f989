"""The OpenAPI 3.1 document, made of the same operations and types that answer the calls."""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import msgspec

from rabbitjobs.web.api.operation import Operation
from rabbitjobs.web.problems import MEDIA, Problem

VERSION = "1"
_PLACE = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{name}"
_EVERYWHERE = (400, 401, 403, 421, 422, 500, 503)
_DESCRIPTION = (
    "Everything that the review desk does. Errors are problem documents (RFC 9457). Actions on a "
    "case need If-Match with its ETag: a case that somebody else has changed meanwhile is refused "
    "with 412, and the detail says who did what."
)


def document(operations: Iterable[Operation], *, title: str, prefix: str) -> dict[str, Any]:
    """The document; ``prefix`` is the path that the API stands under."""
    listed = tuple(operations)
    kinds = [kind for one in listed for kind in (one.gives, one.body) if kind not in (None, str)]
    # Two types of one name would get other names here, and every reference would miss them.
    _, components = msgspec.json.schema_components(
        [*dict.fromkeys((*kinds, Problem))], ref_template=_REF
    )
    paths: dict[str, dict[str, Any]] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"The review desk of {title}",
            "version": VERSION,
            "description": _DESCRIPTION,
        },
        "servers": [{"url": prefix}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(one: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.tag],
        "parameters": [*_path_parameters(one), *_query_parameters(one), *_fence(one)],
        "responses": {str(one.status): _answer(one), **_problems(one)},
    }
    if one.body is not None:
        content = {"application/json": {"schema": {"$ref": _REF.format(name=one.body.__name__)}}}
        found["requestBody"] = {"required": one.body_needed, "content": content}
    return found


def _path_parameters(one: Operation) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1, "maxLength": 36, "pattern": "^[0-9a-f-]+$"}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name in _PLACE.findall(one.path)
    ]


def _query_parameters(one: Operation) -> list[dict[str, Any]]:
    _, components = msgspec.json.schema_components([one.query], ref_template=_REF)
    shown = components[one.query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in shown["required"],
            "schema": _without_null(schema),
        }
        for name, schema in shown["properties"].items()
    ]


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: what is not there is left out."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if not kinds:
        return schema
    return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}


def _fence(one: Operation) -> list[dict[str, Any]]:
    if not one.fenced:
        return []
    return [
        {
            "name": "If-Match",
            "in": "header",
            "required": True,
            "description": "The ETag of the case as you saw it",
            "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$'},
        }
    ]


def _answer(one: Operation) -> dict[str, Any]:
    found: dict[str, Any] = {"description": one.summary}
    if one.stream:
        found["content"] = {media: {"schema": {"type": "string"}} for media in one.stream}
    elif one.gives is not None:
        schema = {"$ref": _REF.format(name=one.gives.__name__)}
        found["content"] = {"application/json": {"schema": schema}}
        if one.gives.__name__ == "CaseWhole":
            found["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return found


def _problems(one: Operation) -> dict[str, Any]:
    statuses = {*_EVERYWHERE, *one.errors}
    if _PLACE.search(one.path):
        statuses.add(404)
    if one.fenced:
        statuses |= {412, 428}
    if one.body is not None:
        statuses |= {408, 413, 415}
    content = {MEDIA: {"schema": {"$ref": _REF.format(name="Problem")}}}
    return {
        str(status): {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted(statuses)
    }

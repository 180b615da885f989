"""Schemathesis against the API: what its own document promises, it does; nothing makes it fail.

A fixed seed and few examples for each operation, with data that fits and data that does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import schemathesis.openapi
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode

from rabbitjobs.web.api.routing import OPERATIONS
from tests.web_desk import WebDesk, web_desk

SEED = 6
# What schemathesis calls us.
HOST = "testserver"
EXAMPLES = 12
CONFIG = {
    "checks": {
        # What fits the document may still meet a case that is newer, a job it does not fit, or a
        # broker that refuses.
        "positive_data_acceptance": {
            "expected-statuses": [200, 201, 202, 204, 403, 404, 409, 412, 422, 502]
        },
        "negative_data_rejection": {
            "expected-statuses": [400, 401, 403, 404, 405, 409, 412, 415, 422, 428]
        },
        "missing_required_header": {"expected-statuses": [400, 401, 404, 415, 422, 428]},
    }
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDesk]:
    """A desk with people, cases in some states, and a bulk action."""
    with web_desk(tmp_path_factory.mktemp("desk") / "config") as found:
        for number in range(3):
            found.case(error=f"full {number}")
        yield found


@pytest.fixture(scope="module")
def schema(desk: WebDesk) -> Any:
    """The API as its document describes it."""
    config = schemathesis.Config.from_dict(CONFIG)
    return schemathesis.openapi.from_asgi(
        "/api/openapi.json", desk.site(hosts=[HOST]), config=config
    )


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: str(one.name))
def test_every_operation_keeps_what_the_document_promises(
    desk: WebDesk, schema: Any, operation: Any, mode: GenerationMode
) -> None:
    """No 500, no undocumented status, no body of another shape, nothing wrong that is taken."""
    described = schema[operation.path][operation.method]
    headers = {"Authorization": f"Bearer {desk.token()}"}
    turn = itertools.count()

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=described.as_strategy(generation_mode=mode))
    def every(case: Case[Any]) -> None:
        if next(turn) % 4 and mode is GenerationMode.POSITIVE:
            _aim(desk, case)
        case.call_and_validate(headers=headers)

    every()


def _aim(desk: WebDesk, case: Case[Any]) -> None:
    """At something that is there, as it is now: else all that comes back is 404."""
    if "case_id" in case.path_parameters:
        (newest,) = desk.app.desk.list(limit=1).cases
        if newest.state != "open":
            desk.case()
            (newest,) = desk.app.desk.list(limit=1).cases
        case.path_parameters["case_id"] = newest.id
        case.headers["If-Match"] = f'"{newest.version}"'
    if "bulk_id" in case.path_parameters:
        made = desk.app.desk.bulk.freeze("tag", [desk.case()], who="ann")
        case.path_parameters["bulk_id"] = made.id

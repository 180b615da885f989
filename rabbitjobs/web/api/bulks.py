"""Bulk actions: frozen first, then tried dry, run, watched, stopped."""

from __future__ import annotations

from collections.abc import Sequence

from rabbitjobs.errors import ArgumentsRefused
from rabbitjobs.review.bulk_case import Bulk, BulkItems
from rabbitjobs.review.case import Filters
from rabbitjobs.web.api import asked, given
from rabbitjobs.web.api.operation import Call, Operation


def _bulks(call: Call) -> given.Bulks:
    return given.Bulks(bulks=call.desk.bulk.list(limit=call.query.limit, who=call.who))


def _freeze(call: Call) -> Bulk:
    body: asked.Freeze = call.body
    if (body.ids is None) == (body.filters is None):
        raise ArgumentsRefused("expected either filters or ids, got both or none of them")
    chosen: Filters | Sequence[str] = body.filters.filters() if body.filters else body.ids or ()
    terms = body.terms.terms()
    return call.desk.bulk.freeze(body.action, chosen, who=call.who, terms=terms)


def _bulk(call: Call) -> Bulk:
    return call.desk.bulk.get(call.path["bulk_id"], who=call.who)


def _items(call: Call) -> BulkItems:
    query: asked.OutcomesQuery = call.query
    return call.desk.bulk.outcomes(
        call.path["bulk_id"],
        after=query.after,
        limit=query.limit,
        fate=query.fate,
        who=call.who,
    )


def _dry_run(call: Call) -> BulkItems:
    query: asked.ItemsQuery = call.query
    return call.desk.bulk.dry_run(
        call.path["bulk_id"], after=query.after, limit=query.limit, who=call.who
    )


def _run(call: Call) -> Bulk:
    return call.service.runner.start(call.desk, call.path["bulk_id"], who=call.who)


def _stop(call: Call) -> Bulk:
    call.desk.bulk.stop(call.path["bulk_id"], call.body.reason, who=call.who)
    return _bulk(call)


def _resume(call: Call) -> Bulk:
    call.desk.bulk.resume(call.path["bulk_id"], who=call.who)
    return _run(call)


OPERATIONS = (
    Operation(
        "GET", "/bulks", "listBulks", "The last bulk actions", _bulks, given.Bulks,
        asked.BulksQuery, tag="bulk",
    ),
    Operation(
        "POST", "/bulks", "freezeBulk", "Fix which cases an action is for; nothing is done yet",
        _freeze, Bulk, body=asked.Freeze, status=201, errors=(409,), tag="bulk",
    ),
    Operation(
        "GET", "/bulks/{bulk_id}", "getBulk", "How far a bulk action is", _bulk, Bulk, tag="bulk"
    ),
    Operation(
        "GET", "/bulks/{bulk_id}/items", "listOutcomes", "What became of each case", _items,
        BulkItems, asked.OutcomesQuery, tag="bulk",
    ),
    Operation(
        "GET", "/bulks/{bulk_id}/dry-run", "tryBulk", "What it would do with each case now",
        _dry_run, BulkItems, asked.ItemsQuery, tag="bulk",
    ),
    Operation(
        "POST", "/bulks/{bulk_id}/run", "runBulk", "Do it, or go on with it, beside this request",
        _run, Bulk, body=asked.Body, status=202, errors=(409,), tag="bulk",
    ),
    Operation(
        "POST", "/bulks/{bulk_id}/stop", "stopBulk", "Begin no further case", _stop, Bulk,
        body=asked.Reason, errors=(409,), tag="bulk",
    ),
    Operation(
        "POST", "/bulks/{bulk_id}/resume", "resumeBulk", "Let one that was stopped go on", _resume,
        Bulk, body=asked.Body, status=202, errors=(409,), tag="bulk",
    ),
)  # fmt: skip

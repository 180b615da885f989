"""Cases, groups, counts and exports: what can be looked at."""

from __future__ import annotations

from rabbitjobs.review.case import Page, Stats
from rabbitjobs.review.groups import Groups
from rabbitjobs.review.trail import Deeds
from rabbitjobs.web.api import given
from rabbitjobs.web.api.asked import CasesQuery, DeedsQuery, ExportQuery, GroupsQuery
from rabbitjobs.web.api.operation import Call, Operation

EXPORTS = ("application/jsonl", "text/csv")


def _cases(call: Call) -> Page:
    query: CasesQuery = call.query
    return call.desk.list(
        query.filters(), limit=query.limit, after=query.after, sort=query.sort, who=call.who
    )


def _groups(call: Call) -> Groups:
    query: GroupsQuery = call.query
    return call.desk.groups(query.filters(), limit=query.limit, after=query.after, who=call.who)


def _stats(call: Call) -> Stats:
    return call.desk.stats(who=call.who)


def _case(call: Call) -> given.CaseWhole:
    case = call.desk.get(call.path["case_id"], who=call.who)
    return given.whole(case, call.desk.offers(case, who=call.who))


def _audit(call: Call) -> given.Trail:
    return given.Trail(audit=call.desk.audit(call.path["case_id"], who=call.who))


def _deeds(call: Call) -> Deeds:
    query: DeedsQuery = call.query
    return call.desk.deeds(
        limit=query.limit, after=query.after, doer=query.doer, action=query.action, who=call.who
    )


def _comments(call: Call) -> given.Comments:
    return given.Comments(comments=call.desk.comments(call.path["case_id"], who=call.who))


def _verify(call: Call) -> given.Verified:
    fault = call.desk.verify(call.path["case_id"], who=call.who)
    return given.Verified(whole=fault is None, fault=fault)


def _export(call: Call) -> tuple[str, object]:
    query: ExportQuery = call.query
    lines = call.desk.export(query.filters(), form=query.form, who=call.who)
    return EXPORTS[query.form == "csv"], lines


OPERATIONS = (
    Operation("GET", "/cases", "listCases", "List cases", _cases, Page, CasesQuery, errors=(409,)),
    Operation("GET", "/cases/{case_id}", "getCase", "Show one case", _case, given.CaseWhole),
    Operation(
        "GET", "/cases/{case_id}/audit", "getAudit", "What was done to a case", _audit, given.Trail
    ),
    Operation(
        "GET", "/cases/{case_id}/comments", "getComments", "What people wrote of a case",
        _comments, given.Comments,
    ),
    Operation(
        "GET", "/cases/{case_id}/verify", "verifyAudit", "Whether the audit of a case is whole",
        _verify, given.Verified,
    ),
    Operation(
        "GET", "/groups", "listGroups", "The causes of cases, the most frequent first", _groups,
        Groups, GroupsQuery, errors=(409,),
    ),
    Operation(
        "GET", "/audit", "listDeeds", "What was done to all cases, newest first", _deeds, Deeds,
        DeedsQuery,
    ),
    Operation("GET", "/stats", "getStats", "Counts by state, queue, error and age", _stats, Stats),
    Operation(
        "GET", "/export", "exportCases", "All cases that fit, line by line, oldest first", _export,
        str, ExportQuery, stream=EXPORTS,
    ),
)  # fmt: skip

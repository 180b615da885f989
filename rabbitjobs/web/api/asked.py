"""What the API takes: queries and bodies as types. What does not fit them is refused unread."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from rabbitjobs.review.bounds import PAGE_MOST, SEARCH_MOST, TAG_MOST, TAGS_MOST, TEXT_MOST
from rabbitjobs.review.bulk_case import BulkAction, Fate, Terms
from rabbitjobs.review.case import Filters, Sort
from rabbitjobs.review.export import Form
from rabbitjobs.review.options import Role
from rabbitjobs.web.tokens import LONGEST, NAME_MOST

_YEAR = 366 * 86400
# As a text: a regular expression that the schema shows, and that holds here as well.
_SAYS = r"\S"

Limit = Annotated[int, Meta(ge=1, le=1000)]
Text = Annotated[str, Meta(min_length=1, max_length=TEXT_MOST, pattern=_SAYS)]
Note = Annotated[str, Meta(max_length=TEXT_MOST)]
Name = Annotated[str, Meta(min_length=1, max_length=500)]
Tag = Annotated[str, Meta(min_length=1, max_length=TAG_MOST)]
Tags = Annotated[tuple[Tag, ...], Meta(max_length=TAGS_MOST)]
Seconds = Annotated[float, Meta(ge=0, le=1e12)]
CaseId = Annotated[str, Meta(min_length=1, max_length=36)]


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A query without any field."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A body without any field: ``{}``, or none at all."""


class Chosen(Filters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which cases: every field that is given must fit. Times are unix seconds."""

    text: Annotated[str, Meta(max_length=SEARCH_MOST)] | None = None
    since: Seconds | None = None
    until: Seconds | None = None

    def filters(self) -> Filters:
        """As the desk takes them."""
        return Filters(**{name: getattr(self, name) for name in Filters.__struct_fields__})


class CasesQuery(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of cases; ``after`` is the ``after`` of the page before."""

    sort: Sort = "newest"
    limit: Limit = 50
    after: Name | None = None


class GroupsQuery(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of groups; ``after`` is the ``after`` of the page before."""

    limit: Limit = 50
    after: Name | None = None


class ExportQuery(Chosen, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An export, as JSON lines or CSV."""

    form: Form = "jsonl"


class DeedsQuery(Query, frozen=True, kw_only=True):
    """What was done, by one person, of one kind, if they are named; older than row ``after``."""

    doer: Name | None = None
    action: Name | None = None
    limit: Limit = 50
    after: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class BulksQuery(Query, frozen=True, kw_only=True):
    """The last bulk actions."""

    limit: Limit = 50


class ItemsQuery(Query, frozen=True, kw_only=True):
    """Some cases of a bulk action, behind place ``after``."""

    after: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    limit: Limit = 100


class OutcomesQuery(ItemsQuery, frozen=True, kw_only=True):
    """As ``ItemsQuery``, of one fate."""

    fate: Fate | None = None


class TokensQuery(Query, frozen=True, kw_only=True):
    """Whose tokens, for an admin; else one's own."""

    who: Name | None = None


class Send(Body, frozen=True, kw_only=True):
    """To another queue, if one is named."""

    queue: Name | None = None


class Edit(Send, frozen=True, kw_only=True):
    """The new body of the job, taken to the byte: ``{"args": [...], "kwargs": {...}}``.

    A field that is shown as ``[hidden]`` is left so, and stays as it was.
    """

    payload: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class Preview(Body, frozen=True, kw_only=True):
    """The new body of the job, to be checked and compared only."""

    payload: Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]


class Reason(Body, frozen=True, kw_only=True):
    """Why."""

    reason: Text


class Resolve(Body, frozen=True, kw_only=True):
    """The result of the job: any JSON."""

    result: Any
    reason: Note = ""


class Snooze(Body, frozen=True, kw_only=True):
    """For how long to put it off."""

    seconds: Annotated[float, Meta(ge=1, le=_YEAR)]
    reason: Note = ""


class Say(Body, frozen=True, kw_only=True):
    """What to write."""

    text: Text


class SetTags(Body, frozen=True, kw_only=True):
    """All tags that it shall have."""

    tags: Tags


class BulkTerms(Terms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a bulk action is done: see the terms of a bulk action."""

    queue: Name | None = None
    reason: Note = ""
    seconds: Annotated[float, Meta(ge=0, le=_YEAR)] = 0.0
    tags: Tags = ()
    canary: Annotated[int, Meta(ge=0, le=100_000)] = 0
    rate: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0
    failures: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None

    def terms(self) -> Terms:
        """As the desk takes them."""
        return Terms(**{name: getattr(self, name) for name in Terms.__struct_fields__})


class Freeze(Body, frozen=True, kw_only=True):
    """An action, and the cases that it is for: either those that fit ``filters``, or ``ids``."""

    action: BulkAction
    filters: Chosen | None = None
    ids: Annotated[tuple[CaseId, ...], Meta(min_length=1, max_length=PAGE_MOST)] | None = None
    terms: BulkTerms = BulkTerms()


class MakeToken(Body, frozen=True, kw_only=True):
    """A token: what it is for, with which role at most, for how long, and (an admin's) for whom."""

    name: Annotated[str, Meta(min_length=1, max_length=NAME_MOST, pattern=_SAYS)]
    role: Role = "viewer"
    seconds: Annotated[float, Meta(ge=60, le=LONGEST.total_seconds())] = 90 * 86400.0
    who: Name | None = None

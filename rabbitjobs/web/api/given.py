"""What the API gives, where it is not a type of the desk itself. Times are unix seconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from rabbitjobs.message.envelope import AttemptRecord
from rabbitjobs.policy.decision import FailureKind
from rabbitjobs.review.bulk_case import Bulk
from rabbitjobs.review.case import AuditRow, Case, CaseLine, Origin
from rabbitjobs.review.options import Person, Role
from rabbitjobs.review.trail import Comment
from rabbitjobs.web.tokens import Token


class CaseWhole(CaseLine, frozen=True, kw_only=True):
    """One case with everything that is known of it, as you may see it.

    ``payload`` is base64 of the exact bytes, ``arguments`` what they say (null if they are no
    JSON), ``hidden`` the fields that you may not see. ``offers`` are the actions that would not be
    refused to you now. ``version`` is also the ETag: send it back as If-Match.
    """

    message_id: str | None
    correlation_id: str | None
    trace: str | None
    priority: int | None
    origin: Origin
    kind: FailureKind
    classes: tuple[str, ...]
    traceback: str
    rule: str
    payload: bytes
    payload_hash: str
    release_id: str | None
    release_attempt: int | None
    parent_id: str | None
    child_id: str | None
    closed: float | None
    hidden: tuple[str, ...]
    history: tuple[AttemptRecord, ...]
    arguments: Any
    offers: tuple[str, ...]


def whole(case: Case, offers: tuple[str, ...]) -> CaseWhole:
    """A case of the desk as the API gives it."""
    own = {name: getattr(case, name) for name in _OF_THE_CASE}
    return CaseWhole(**own, history=case.history, arguments=case.decoded(), offers=offers)


_OF_THE_CASE = tuple(name for name in CaseWhole.__struct_fields__ if name in Case.__struct_fields__)


class Trail(msgspec.Struct, frozen=True, kw_only=True):
    """What was done to a case, oldest first."""

    audit: tuple[AuditRow, ...]


class Comments(msgspec.Struct, frozen=True, kw_only=True):
    """What people wrote, oldest first."""

    comments: tuple[Comment, ...]


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the audit of a case is as it was written; ``fault`` says what is not."""

    whole: bool
    fault: str | None


class Previewed(msgspec.Struct, frozen=True, kw_only=True):
    """What an edit would change, as a diff."""

    diff: str


class Bulks(msgspec.Struct, frozen=True, kw_only=True):
    """Bulk actions, the newest first, without counts."""

    bulks: tuple[Bulk, ...]


How = Literal["local", "session", "token"]


class Me(msgspec.Struct, frozen=True, kw_only=True):
    """Who you are, and how that is known. ``csrf`` is for X-CSRF-Token beside a cookie."""

    person: Person
    how: How
    csrf: str


class People(msgspec.Struct, frozen=True, kw_only=True):
    """Who may do what: those named in the config, and the ``others``. Nobody named: all may all."""

    people: tuple[Person, ...]
    others: Role


class TokenList(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that have not expired, the newest first; never their texts."""

    tokens: tuple[Token, ...]

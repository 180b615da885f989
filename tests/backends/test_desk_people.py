"""Who may do what: roles, limits by queue and job, fields that not all may see or change."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from rabbitjobs.errors import ArgumentsRefused, NotAllowed
from rabbitjobs.review.case import Case, Filters
from rabbitjobs.review.desk import Desk
from rabbitjobs.review.intake import FailedMessage, take_in
from rabbitjobs.review.options import DeskOptions, FieldRules, Person
from rabbitjobs.review.payload_fields import HIDDEN
from rabbitjobs.store.engine import Store
from tests.backends.desk_broker import Broker

Failed = Callable[..., FailedMessage]
CARD = b'{"args":["a@example.org"],"kwargs":{"card":{"number":"4111-77"},"text":"hi","run":7}}'
OPTIONS = DeskOptions(
    people={
        "ann": Person(name="ann", role="admin"),
        "bob": Person(name="bob", role="reviewer"),
        "cat": Person(name="cat", role="reviewer", queues=("images",), jobs=("shop.mail",)),
        "vic": Person(name="vic", role="viewer"),
    },
    jobs={"shop.mail": FieldRules(locked=("kwargs.run",), sensitive=("kwargs.card.number",))},
)


@pytest.fixture
def desk(store: Store, broker: Broker) -> Desk:
    """A desk with people, and a job with a card in it."""
    return Desk(store, broker, lambda _job, _body: None, options=OPTIONS)


@pytest.fixture
def case(store: Store, desk: Desk, failed: Failed) -> Case:
    """A case with a card."""
    return desk.get(take_in(store, failed(body=CARD), OPTIONS))


def edited(**changes: object) -> bytes:
    """The body as a reviewer sees it, with other keyword arguments."""
    kwargs = {"card": {"number": HIDDEN}, "text": "hi", "run": 7, **changes}
    return msgspec.json.encode({"args": ["a@example.org"], "kwargs": kwargs})


def test_a_viewer_looks_and_does_nothing(desk: Desk, broker: Broker, case: Case) -> None:
    """Every action is refused and says which role it takes."""
    assert desk.get(case.id, who="vic").id == case.id
    assert len(desk.list(who="vic").cases) == len(desk.groups(who="vic").groups) == 1
    assert desk.stats(who="vic").states == {"open": 1}
    actions: tuple[Callable[[], object], ...] = (
        lambda: desk.claim(case.id, who="vic", version=1),
        lambda: desk.heartbeat(case.id, who="vic"),
        lambda: desk.steal(case.id, "x", who="vic", version=1),
        lambda: desk.let_go(case.id, who="vic", version=1),
        lambda: desk.retry(case.id, who="vic", version=1),
        lambda: desk.approve(case.id, who="vic", version=1),
        lambda: desk.edit(case.id, edited(text="x"), who="vic", version=1),
        lambda: desk.discard(case.id, "x", who="vic", version=1),
        lambda: desk.reject(case.id, "x", who="vic", version=1),
        lambda: desk.resolve(case.id, 1, who="vic", version=1),
        lambda: desk.reopen(case.id, "x", who="vic", version=1),
        lambda: desk.comment(case.id, "x", who="vic", version=1),
        lambda: desk.tag(case.id, ("x",), who="vic", version=1),
        lambda: desk.snooze(case.id, timedelta(hours=1), who="vic", version=1),
        lambda: desk.wake(case.id, who="vic", version=1),
        lambda: desk.escalate(case.id, "x", who="vic", version=1),
    )
    for act in actions:
        with pytest.raises(NotAllowed, match="got vic, who is viewer"):
            act()
    assert desk.get(case.id) == case
    assert broker.sent == []


def test_who_is_not_named_has_no_rights(desk: Desk, case: Case) -> None:
    """Unless the config says what others are; without any people everybody is an admin."""
    looks: tuple[Callable[[], object], ...] = (
        lambda: desk.get(case.id, who="eve"),
        lambda: desk.list(who="eve"),
        lambda: desk.groups(who="eve"),
        lambda: desk.stats(who="eve"),
        lambda: desk.audit(case.id, who="eve"),
        lambda: desk.comments(case.id, who="eve"),
        lambda: desk.verify(case.id, who="eve"),
        lambda: desk.export(who="eve"),
        lambda: desk.bulk.list(who="eve"),
        lambda: desk.retry(case.id, who="eve", version=1),
    )
    for look in looks:
        with pytest.raises(NotAllowed, match="nobody"):
            look()
    assert msgspec.structs.replace(OPTIONS, others="viewer").person("eve").role == "viewer"
    assert DeskOptions().person("eve").role == "admin"


def test_limits_hold_for_looking_and_acting(
    store: Store, desk: Desk, case: Case, failed: Failed
) -> None:
    """By queue and by job; what is not his is not in his lists."""
    own = take_in(store, failed(queue="images"))
    take_in(store, failed(queue="images", job="shop.other"))
    assert [line.id for line in desk.list(who="cat").cases] == [own]
    assert desk.stats(who="cat").states == {"open": 1}
    assert sum(group.total for group in desk.groups(who="cat").groups) == 1
    with pytest.raises(NotAllowed, match="queues images"):
        desk.get(case.id, who="cat")
    with pytest.raises(NotAllowed, match=r"queues images and jobs shop\.mail"):
        desk.retry(case.id, who="cat", version=1)
    with pytest.raises(NotAllowed, match="got billing"):
        desk.retry(own, who="cat", version=1, queue="billing")
    with pytest.raises(NotAllowed, match="got billing"):
        desk.edit(own, b'{"args":["b"]}', who="cat", version=1, queue="billing")
    assert desk.retry(own, who="cat", version=1, queue="images").state == "released"


def test_only_an_admin_takes_a_release_back(desk: Desk, case: Case) -> None:
    """The job may run twice by that."""
    released = desk.retry(case.id, who="bob", version=1)
    with pytest.raises(NotAllowed, match="admin"):
        desk.reopen(case.id, "lost", who="bob", version=released.version)
    assert desk.reopen(case.id, "lost", who="ann", version=released.version).state == "open"


def test_a_sensitive_field_is_hidden_below_admin(desk: Desk, case: Case) -> None:
    """Wherever the payload is shown: decoded, raw, in the envelope, after an action, exported."""
    views = [
        desk.get(case.id, who="bob"),
        desk.comment(case.id, "look", who="bob", version=1),
        desk.claim(case.id, who="bob", version=2),
    ]
    for view in views:
        assert view.hidden == ("kwargs.card.number",)
        assert view.decoded()["kwargs"]["card"] == {"number": HIDDEN}
        assert view.envelope is not None
        assert b"4111" not in view.payload + view.envelope.body
    assert "4111" not in "".join(desk.export(who="vic"))
    assert desk.get(case.id, who="ann").payload == CARD
    assert case.payload_hash == views[0].payload_hash


def test_nobody_finds_a_sensitive_field_by_a_search(desk: Desk, case: Case) -> None:
    """An answer of yes or no would tell it as well."""
    assert desk.list(Filters(text="4111")).cases == ()
    assert len(desk.list(Filters(text="hi")).cases) == 1


def test_an_edit_keeps_what_its_author_did_not_see(desk: Desk, broker: Broker, case: Case) -> None:
    """He leaves the mark in its place; the audit's diff shows the field to nobody."""
    child = desk.edit(case.id, edited(text="bye"), who="bob", version=1)
    assert msgspec.json.decode(broker.sent[0].envelope.body)["kwargs"] == {
        "card": {"number": "4111-77"},
        "text": "bye",
        "run": 7,
    }
    assert child.decoded()["kwargs"]["card"]["number"] == HIDDEN
    told = "".join(row.detail for one in (case, child) for row in desk.audit(one.id))
    assert '+    "text": "bye"' in told.replace("      ", "    ")
    assert "4111" not in told
    assert desk.list(Filters(text="4111")).cases == ()


@pytest.mark.parametrize(
    "card", [{"number": "5500"}, {}, {"number": [HIDDEN]}, "none", {"number": "4111-77"}]
)
def test_a_reviewer_does_not_change_a_hidden_field(desk: Desk, case: Case, card: object) -> None:
    """Nor take it away, nor find out that he guessed it."""
    with pytest.raises(ArgumentsRefused, match="only an admin"):
        desk.edit(case.id, edited(text="bye", card=card), who="bob", version=1)
    assert desk.get(case.id) == case


def test_an_admin_changes_a_sensitive_field(desk: Desk, broker: Broker, case: Case) -> None:
    """He sees it; the audit tells that it changed, and not to what."""
    body = CARD.replace(b"4111-77", b"5500-88")
    child = desk.edit(case.id, body, who="ann", version=1)
    assert broker.sent[0].envelope.body == body
    (row,) = [row for row in desk.audit(child.id) if row.action == "edit"]
    assert "hidden fields" in row.detail
    assert row.before_hash != row.after_hash


@pytest.mark.parametrize("run", [8, None, 7.5, True])
@pytest.mark.parametrize("who", ["ann", "bob"])
def test_a_locked_field_stays_for_everybody(desk: Desk, case: Case, who: str, run: object) -> None:
    """What a job is for must not be edited into something else."""
    number = "4111-77" if who == "ann" else HIDDEN
    with pytest.raises(ArgumentsRefused, match=r"kwargs\.run as before"):
        desk.edit(case.id, edited(run=run, card={"number": number}), who=who, version=1)
    body = msgspec.json.decode(edited(card={"number": number}))
    del body["kwargs"]["run"]
    with pytest.raises(ArgumentsRefused, match=r"kwargs\.run as before"):
        desk.check(case.id, msgspec.json.encode(body), who=who)


def test_a_preview_shows_the_change_and_checks_it(desk: Desk, case: Case) -> None:
    """Before anything is written."""
    shown = desk.preview(case.id, edited(text="bye"), who="bob")
    assert "bye" in shown
    assert "4111" not in shown
    with pytest.raises(ArgumentsRefused):
        desk.preview(case.id, edited(run=1), who="bob")
    assert desk.get(case.id) == case


def test_a_payload_that_cannot_be_read_is_hidden_as_a_whole(
    store: Store, desk: Desk, failed: Failed
) -> None:
    """Nobody knows where in it the card is."""
    message = failed(raw=b"\x80card 4111", failure=None, reason="dead-letter", queue="")
    message = msgspec.structs.replace(message, envelope=None)
    case_id = take_in(store, message, OPTIONS)
    assert b"4111" not in desk.get(case_id, who="bob").payload
    assert b"4111" in desk.get(case_id, who="ann").payload

"""``review:`` in the config: people, fields, deadlines; every fault with file and line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from rabbitjobs.errors import ConfigError
from rabbitjobs.review.options import DeadlineRule, DeskOptions, FieldRules, Person
from rabbitjobs.settings import FILE, load

WHOLE = """
review:
  lease: 15m
  others: viewer
  people:
    ann: {role: admin}
    bob@desk-1: {role: reviewer, queues: [emails], jobs: [shop.mail, shop.news]}
  jobs:
    shop.mail: {locked: [kwargs.run], sensitive: [args.1, kwargs.card.number]}
  queues:
    emails: {sensitive: [kwargs.*.password]}
  deadlines:
    emails: {after: 2d, do: discard}
    "*": {after: 7d, do: escalate}
"""


def read(folder: Path, text: str) -> DeskOptions | None:
    """The options of a config with this text."""
    (folder / FILE).write_text(text)
    return load(folder, {}).review


def test_all_of_it_is_read(tmp_path: Path) -> None:
    """As one value."""
    bob = Person(
        name="bob@desk-1", role="reviewer", queues=("emails",), jobs=("shop.mail", "shop.news")
    )
    fields = FieldRules(locked=("kwargs.run",), sensitive=("args.1", "kwargs.card.number"))
    assert read(tmp_path, WHOLE) == DeskOptions(
        lease=timedelta(minutes=15),
        others="viewer",
        people={"ann": Person(name="ann", role="admin"), "bob@desk-1": bob},
        jobs={"shop.mail": fields},
        queues={"emails": FieldRules(sensitive=("kwargs.*.password",))},
        deadlines={
            "emails": DeadlineRule(after=timedelta(days=2), do="discard"),
            "*": DeadlineRule(after=timedelta(days=7), do="escalate"),
        },
    )


def test_without_it_everybody_is_an_admin(tmp_path: Path) -> None:
    """And nothing has a deadline."""
    assert read(tmp_path, "app: shop\n") is None
    plain = DeskOptions()
    assert plain.person("anybody").role == "admin"
    assert plain.deadline_of("emails") is None


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("review: {leese: 5m}", "1: review.leese: expected lease"),
        ("review: {lease: 1s}", "1: review.lease: expected a duration from 5s"),
        ("review: {people: {ann: {role: boss}}}", "review.people.ann.role: expected one of"),
        ("review: {people: {ann: {}}}", "review.people.ann: expected the key role"),
        ("review: {people: {ann: {role: admin, queue: [a]}}}", "expected queues"),
        ("review: {others: admin}", "review.others: expected people beside it"),
        ("review: {jobs: {a: {locked: [card]}}}", "expected a place in the payload"),
        ("review: {jobs: {a: {sensitive: [args]}}}", "expected a place in the payload"),
        ("review: {queues: {a: {sensitive: [kwargs..x]}}}", "expected a place in the payload"),
        ("review: {deadlines: {a: {after: 5m}}}", "review.deadlines.a: expected the key do"),
        ("review: {deadlines: {a: {after: 5m, do: approve}}}", "review.deadlines.a.do: expected"),
        ("review: {deadlines: {a: {after: soon, do: discard}}}", "review.deadlines.a.after"),
    ],
)
def test_a_fault_is_told_with_its_place(tmp_path: Path, text: str, fault: str) -> None:
    """Before anything is started."""
    with pytest.raises(ConfigError) as wrong:
        read(tmp_path, text)
    assert fault in str(wrong.value)


def test_the_fields_of_job_and_queue_add_up() -> None:
    """Of a message that tells neither, any field that is sensitive anywhere may be in it."""
    options = DeskOptions(
        jobs={"j": FieldRules(sensitive=("args.0",))},
        queues={"q": FieldRules(sensitive=("args.1",), locked=("args.2",))},
    )
    assert options.fields_of("j", "q").sensitive == ("args.0", "args.1")
    assert options.fields_of("k", "q").locked == ("args.2",)
    assert options.fields_of("k", "r") == FieldRules()
    assert options.fields_of(None, None).sensitive == ("args.0", "args.1")

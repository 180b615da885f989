"""Search: the words of each case in an index of their own, the same on every database.

A page of 100,000 wide rows cannot be read for each search. The index finds the cases with
the rarest word looked for; of these the text itself must hold what was typed.
"""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from rabbitjobs.store.schema import case_words, cases
from rabbitjobs.store.text import storable

TEXT_KEPT = 8000
WORDS_KEPT = 200
LETTERS_KEPT = 32
# So many cases are looked through sooner than looked up.
RARE = 2000
_WORD = re.compile(r"[^\W_]+")


def search_text(*parts: str | None) -> str:
    """What the text filter looks in: lower case, capped."""
    return storable(" ".join(part for part in parts if part)[:TEXT_KEPT].lower())


def words_of(text: str) -> list[str]:
    """The words of a text, each once, shortened; the first ones of many."""
    found = dict.fromkeys(word[:LETTERS_KEPT] for word in _WORD.findall(text.lower()))
    return list(found)[:WORDS_KEPT]


def put(
    connection: Connection, namespace: str, case_id: str, text: str, *, anew: bool = False
) -> None:
    """Enter the words of a case; ``anew`` takes those out that it had."""
    if anew:
        connection.execute(delete(case_words).where(case_words.c.case_id == case_id))
    rows: list[dict[str, Any]] = [
        {"namespace": namespace, "word": word, "case_id": case_id} for word in words_of(text)
    ]
    if rows:
        # Two that mend the same old case at once enter the same words.
        make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
        connection.execute(make(case_words).on_conflict_do_nothing(), rows)


def having(connection: Connection, namespace: str, text: str) -> list[ColumnElement[bool]]:
    """The conditions that a case fits a text that was typed.

    The rarest of its words leads there; if even that one is in many cases, a list of them is found
    soon by reading the newest.
    """
    wanted = storable(text.lower())
    found = [cases.c.search.contains(wanted, autoescape=True)]
    counted = [(_number_with(connection, namespace, one), one) for one in words_of(wanted)]
    number, rarest = min(counted, default=(RARE, ""))
    if number < RARE:
        found.insert(0, cases.c.id.in_(_cases_with(namespace, rarest)))
    return found


def _number_with(connection: Connection, namespace: str, word: str) -> int:
    some = _cases_with(namespace, word).limit(RARE).subquery()
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def _cases_with(namespace: str, word: str) -> Select[tuple[str]]:
    return select(case_words.c.case_id).where(
        case_words.c.namespace == namespace,
        case_words.c.word >= word,
        case_words.c.word < word + chr(0x10FFFF),
    )

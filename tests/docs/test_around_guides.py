"""The programs of the guides to the context and to middleware do what the guides say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.users_pytest import passes

ROOT = Path(__file__).parents[2]
START = """
import pytest
from guide_app import *

@pytest.fixture
def rj_app():
    return app
"""
REPORTING = """
def test_reports(rj):
    sent = divide.send(1, 0)
    waiting = wait_for.send("a port")
    ignored = wait_for.send("")
    fine = divide.send(4, 2)
    rj.drain()
    assert fine.result(timeout=5) == 2.0
    raised = [(text, tags["job_id"]) for text, tags in client.reports if "attempt" in tags]
    assert set(raised) == {
        ("ZeroDivisionError('division by zero')", sent.id),
        ("ConnectionError('a port')", waiting.id),
    }
    told = [(text, tags["job_id"]) for text, tags in client.reports if "attempt" not in tags]
    assert sorted(told) == sorted([
        ("guide_app.divide is in-review", sent.id),
        ("guide_app.wait_for is in-review", waiting.id),
        ("guide_app.wait_for is ignored", ignored.id),
    ])
    assert app.check() == []
"""
SESSIONS = """
from sqlalchemy import select

def test_sessions(rj):
    Base.metadata.create_all(engine)
    for number in (1, -2, 3):
        place_order.send(number)
    rj.drain()
    with make_session() as found:
        assert found.scalars(select(Order.number)).all() == [1, 3]
    engine.dispose()
"""
CONTEXT = """
from rabbitjobs.backend.protocol import Progress

def test_context(rj):
    heard = []
    app.on(events.JobProgress)(heard.append)
    sent = import_file.send("a.csv", 3)
    rj.drain()
    assert sent.result(timeout=5) == 3
    assert [(one.done, one.total, one.note) for one in heard] == [
        (n, 3, "rows sent") for n in (1, 2, 3)
    ]
    for row in range(3):
        rj.assert_sent(import_row, row)

from rabbitjobs import events
"""


@pytest.mark.parametrize(
    ("page", "mark", "test"),
    [
        ("middleware.md", "reporting.py", REPORTING),
        ("middleware.md", "sessions.py", SESSIONS),
        ("context.md", "context.py", CONTEXT),
    ],
)
def test_a_program_does_what_its_guide_says(
    tmp_path: Path, page: str, mark: str, test: str
) -> None:
    """On a broker in memory, by the plugin that users have."""
    text = (ROOT / "docs" / "guides" / page).read_text()
    found = re.search(rf"<!-- test: {mark} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    (tmp_path / "guide_app.py").write_text(found[1])
    (tmp_path / "test_guide.py").write_text(START + test)
    passes(tmp_path, count=1)

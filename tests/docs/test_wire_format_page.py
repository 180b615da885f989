"""The program in docs/wire-format.md, written with plain pika, sends a job that runs."""

from __future__ import annotations

import re

import pytest

from tests.docs.reader import ROOT, Reader

PAGE = ROOT / "docs" / "wire-format.md"


@pytest.mark.usefixtures("worker")
def test_a_plain_client_sends_a_job(reader: Reader) -> None:
    """Published as documented, run by a worker, its result read by its id."""
    found = re.search(
        r"<!-- test: wire-format -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL
    )
    assert found is not None
    (reader.folder / "plain.py").write_text(found[1])
    # The worker's app declares the topology when it first connects; so does this one.
    reader.python("-c", "from examples.greetings import app; app.apply()")
    job_id = reader.python("plain.py").strip()
    program = f"from examples.greetings import app; print(app.handle({job_id!r}).result(30))"
    assert reader.python("-c", program) == "hello world\n"

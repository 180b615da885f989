"""The demo with its page: what it has left on the desk can be seen in a browser until Ctrl-C."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.demo.starting import start


@pytest.mark.timeout(240)
def test_the_page_stays_open_until_it_is_stopped(tmp_path: Path) -> None:
    """Its cases are those of the demo; at the end nothing listens any more."""
    with start(tmp_path, "--web", "--orders", "120") as demo:
        assert demo.stdout is not None
        told: list[str] = []
        address = None
        while address is None:
            line = demo.stdout.readline()
            assert line, told
            told.append(line)
            address = re.search(r"http://127\.0\.0\.1:\d+/", line)
        page = httpx.get(f"{address.group()}cases?state=all", timeout=30)
        assert page.status_code == 200
        assert "data-row" in page.text
        demo.send_signal(signal.SIGINT)
        rest, _ = demo.communicate()
    assert demo.returncode == 0, "".join(told) + rest
    assert "The ledger balances." in rest
    with pytest.raises(httpx.ConnectError):
        httpx.get(address.group(), timeout=5)

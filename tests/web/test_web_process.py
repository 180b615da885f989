"""``rabbitjobs web`` as a process: where it serves, how it ends, what a kill -9 leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from rabbitjobs.broker.layout import free_ports
from tests.web_desk import REVIEW, people_in_config, web_desk

PATIENCE = 60.0


def started(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rabbitjobs", "--config", str(folder), "web", *options],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RABBITJOBS_URL": "amqp://127.0.0.1:1"},
    )


def answer(url: str, **options: Any) -> httpx.Response:
    """Of a server that has just been started."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return httpx.get(url, **options)
        except httpx.TransportError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_off_this_machine_it_refuses_to_start(tmp_path: Path) -> None:
    """Nothing is bound; the text says what to do."""
    with web_desk(tmp_path / "config", ""):
        (port,) = free_ports(1)
        process = started(tmp_path / "config", "--host", "0.0.0.0", "--port", str(port))
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "expected people who may log in beside 0.0.0.0" in said
    assert "rabbitjobs web password" in said
    assert "Traceback" not in said


def test_it_serves_this_machine_and_ends_by_a_signal(tmp_path: Path) -> None:
    """No version of the server, no trace of the broker's or store's address."""
    with web_desk(tmp_path / "config", "") as desk:
        (port,) = free_ports(1)
        case_id = desk.case()
        process = started(tmp_path / "config", "--port", str(port))
        try:
            found = answer(f"http://127.0.0.1:{port}/api/cases")
            assert [one["id"] for one in found.json()["cases"]] == [case_id]
            assert "server" not in found.headers
            assert answer(f"http://127.0.0.1:{port}/cases").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert "sqlite" not in said


def test_a_session_outlives_a_server_that_is_killed(tmp_path: Path) -> None:
    """It is a row in the store; so is what was done before the kill."""
    config = REVIEW + people_in_config()
    with web_desk(tmp_path / "config", config) as desk:
        (port,) = free_ports(1)
        case_id = desk.case()
        headers = {"Authorization": f"Bearer {desk.token()}"}
        for number, text in enumerate(("before", "after"), start=1):
            process = started(tmp_path / "config", "--port", str(port))
            try:
                url = f"http://127.0.0.1:{port}/api/cases/{case_id}"
                assert answer(url, headers=headers).headers["etag"] == f'"{number}"'
                fence = {**headers, "If-Match": f'"{number}"'}
                comment = {"text": text}
                httpx.post(
                    f"{url}/comment", json=comment, headers=fence, timeout=PATIENCE
                ).raise_for_status()
            finally:
                process.kill()
            process.communicate(timeout=PATIENCE)
        assert [one.text for one in desk.app.desk.comments(case_id)] == ["before", "after"]


@pytest.mark.parametrize("option", ["--host=10.0.0.300", "--port=99999"])
def test_an_address_that_is_none_is_told(tmp_path: Path, option: str) -> None:
    """Without a traceback."""
    with web_desk(tmp_path / "config", REVIEW + people_in_config()):
        process = started(tmp_path / "config", option)
        _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "Traceback" not in said

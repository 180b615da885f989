"""Every example does what it says, against a real broker."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.docs.reader import Reader, end, free_port, wait_for

pytestmark = pytest.mark.usefixtures("worker")


@contextmanager
def serving(cloner: Reader, *arguments: str, port: int) -> Iterator[httpx.Client]:
    """A web server of an example, and a client for it."""
    server: subprocess.Popen[bytes] = cloner.start(*arguments)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, server, cloner)
        with httpx.Client(base_url=url, timeout=40) as client:
            yield client
    finally:
        end(server)


def test_a_plain_script_sends_and_reads_results(cloner: Reader) -> None:
    """Two results, one of a function and one of a coroutine."""
    assert cloner.python("-m", "examples.plain_script", "world") == "hello world 42\n"


def test_many_threads_share_one_app(cloner: Reader) -> None:
    """40 jobs from 8 threads: the sum of 1 to 40."""
    assert cloner.python("-m", "examples.threads") == "820\n"


def test_fastapi_sends_from_a_coroutine(cloner: Reader) -> None:
    """202 with the job's id, then its result; an id that nobody knows is no error."""
    port = free_port()
    command = ("-m", "uvicorn", "examples.fastapi_app:web", "--port", str(port))
    with serving(cloner, *command, port=port) as client:
        started = client.post("/greetings/fastapi")
        assert started.status_code == 202
        answer = {"status": "queued"}
        while answer["status"] in ("queued", "unknown", "running"):
            answer = client.get(f"/greetings/{started.json()['id']}").json()
        assert answer == {"status": "succeeded", "greeting": "hello fastapi"}
        unknown = client.get("/greetings/nobody-knows-it").json()
        assert unknown == {"status": "unknown", "greeting": None}


def test_flask_sends_from_every_worker_of_a_preforking_gunicorn(cloner: Reader) -> None:
    """The app is made before the fork; both children send, each over its own connection."""
    port = free_port()
    command = (
        *("-m", "gunicorn", "--preload", "--workers", "2", "--bind", f"127.0.0.1:{port}"),
        "examples.flask_app:web",
    )
    with serving(cloner, *command, port=port) as client:
        pids = set[int]()
        while len(pids) < 2:
            # A fresh connection each time, so that either child may take it.
            started = httpx.post(client.base_url.join("/greetings/flask"), timeout=40)
            assert started.status_code == 202, cloner.log()
            pids.add(started.json()["pid"])
            result = client.get(f"/greetings/{started.json()['id']}").json()
            assert result == {"greeting": "hello flask"}


def test_django_sends_from_a_view(cloner: Reader) -> None:
    """A sync view sends, an async view waits for the result."""
    port = free_port()
    command = ("-m", "examples.django_site", "runserver", "--noreload", str(port))
    with serving(cloner, *command, port=port) as client:
        started = client.get("/greetings/django")
        assert started.status_code == 202
        result = client.get(f"/results/{started.json()['id']}").json()
        assert result == {"greeting": "hello django"}

"""A shop with real processes on a real broker, and people who sit at browsers (Chromium)."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Page, expect, sync_playwright

from rabbitjobs.broker.layout import free_ports
from rabbitjobs.broker.node import Node
from tests.broker.crew import Crew, crew, until

CODE = """
from rabbitjobs import RabbitJobs

app = RabbitJobs()


@app.job("shop.mail", queue="emails")
def mail(to: str, copies: int = 1, *, subject: str = "Your order") -> str:
    if "@" not in to:
        raise ValueError(f"expected an address, got {to}")
    return f"{copies} sent to {to}"
"""
TOPOLOGY = """
version: 1
namespace: shop
retry:
  quick: {delays: [50ms]}
queues:
  emails: {retry: quick}
  images: {}
"""
PASSWORDS = {"ann": "correct horse battery", "bob": "staple of the bob"}
# Real costs would take a quarter of a second for each login.
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
CONFIG = """
review:
  lease: {lease}
  people:
    ann: {{role: admin}}
    bob: {{role: reviewer}}
web:
  people:
"""
# What a page shows may hang on a worker that has just been started.
PATIENCE = 60.0
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
expect.set_options(timeout=PATIENCE * 1000)
T = TypeVar("T")
Sits = Callable[..., Page]


def apart(call: Callable[[], T]) -> T:
    """Call on another thread: in this one stands the event loop of the browser."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result(60)


class Shop:
    """The shop's processes; the desk is at ``address``."""

    def __init__(self, found: Crew, port: int) -> None:
        self.crew = found
        self.address = f"http://127.0.0.1:{port}"
        self._mail = found.app.remote("shop.mail", queue="emails")
        self.web = found.start("web", "--port", str(port))
        found.start("intake")
        until(lambda: self._answers(port), why=lambda: self.web.log)

    def work(self) -> None:
        """Start the worker."""
        self.crew.consume("emails")

    def send(self, *to: str) -> list[str]:
        """Send a mail to each; returns the ids of the jobs."""
        return apart(lambda: [self._mail.send(one).id for one in to])

    def result(self, job_id: str) -> Any:
        """What a job has come to."""
        return apart(lambda: self.crew.app.handle(job_id).result(60))

    def open_cases(self) -> int:
        """How many cases wait."""
        return self.crew.app.desk.stats().states.get("open", 0)

    @staticmethod
    def _answers(port: int) -> bool:
        with socket.socket() as line:
            line.settimeout(0.5)
            return line.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def shop(node: Node, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Shop]:
    """The desk and its intake run; nobody works yet. A test may name another lease."""
    config = CONFIG.format(lease=getattr(request, "param", "10m"))
    (port,) = free_ports(1)
    with crew(node, tmp_path, CODE, TOPOLOGY) as found:
        people = "".join(
            f'    {name}: {{password: "{QUICK.hash(word)}"}}\n' for name, word in PASSWORDS.items()
        )
        (tmp_path / "config" / "rabbitjobs.yaml").write_text(config + people)
        yield Shop(found, port)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium; its profiles are fresh."""
    path = shutil.which("chromium")
    assert path, "expected chromium, got none; run: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def sits(chromium: Browser, shop: Shop) -> Iterator[Sits]:
    """``sits("ann")`` gives the page of a browser in which she is logged in.

    A fault of a script, and anything that the content policy blocks, fails the test.
    """
    contexts, faults = [], []

    def sit(who: str, **options: object) -> Page:
        context = chromium.new_context(base_url=shop.address, locale="en-GB", **options)  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "console",
            lambda said: faults.append(said.text) if "Content Security" in said.text else None,
        )
        page.goto("/")
        page.get_by_label("Name").fill(who)
        page.get_by_label("Password").fill(PASSWORDS[who])
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/cases")
        return page

    yield sit
    for context in contexts:
        context.close()
    assert faults == []

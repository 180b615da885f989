"""One line for each event: bound to its job, escaped, without secrets."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from rabbitjobs.monitor.logs import CAPPED, Format, configure, escape
from rabbitjobs.secret import mask

Lines = Callable[[], list[dict[str, Any]]]


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    for name in CAPPED:
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def lines() -> Lines:
    """Configure JSON, and read the lines written so far."""
    stream = io.StringIO()
    configure("DEBUG", "json", stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_logger_write_the_same_lines(lines: Lines) -> None:
    """structlog's and the standard library's: time, level, name, event and fields."""
    structlog.get_logger("shop").info("sent", amount=3)
    logging.getLogger("shop").info("sent %d", 3, extra={"amount": 3})
    first, second = lines()
    for line in (first, second):
        assert line["level"] == "info"
        assert line["logger"] == "shop"
        assert line["amount"] == 3
        assert line["time"].endswith("Z")
    assert (first["event"], second["event"]) == ("sent", "sent 3")


async def test_the_job_is_on_every_line_of_its_task_and_its_threads(lines: Lines) -> None:
    """Ten jobs at a time: async, in a thread, with either logger; none bears another's id."""

    def in_a_thread(number: int) -> None:
        logging.getLogger("shop").warning("thread %d", number)
        structlog.get_logger().info(f"struct {number}")

    async def job(number: int) -> None:
        with structlog.contextvars.bound_contextvars(job_id=f"id-{number}", attempt=number):
            await asyncio.sleep(0)
            logging.getLogger("shop").info("async %d", number)
            await asyncio.to_thread(in_a_thread, number)

    await asyncio.gather(*(job(number) for number in range(10)))
    logging.getLogger("shop").info("outside")
    *inside, outside = [line for line in lines() if line["logger"] != "asyncio"]
    assert len(inside) == 30
    for line in inside:
        number = line["event"].split()[1]
        assert (line["job_id"], line["attempt"]) == (f"id-{number}", int(number))
    assert "job_id" not in outside


@pytest.mark.parametrize("kind", ["json", "console"])
def test_an_event_is_one_line_without_escape_sequences(kind: Format) -> None:
    """Line breaks, ANSI, C1 and text-turning characters in names, keys and nested payloads."""
    stream = io.StringIO()
    configure("INFO", kind, stream)
    evil = "a\r\nFAKE LINE\x1b[2J\x9b31m\u2028\u202e\x00\ud800"
    structlog.get_logger("shop").info(evil, **{"k\x1b": evil, "deep": {evil: [evil, (evil,)]}})
    logging.getLogger("shop").warning("%s", evil, extra={"job_name": evil, "raw": b"\x1b\n"})
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    text.encode()


@pytest.mark.parametrize("kind", ["json", "console"])
def test_a_tracebacks_own_lines_stay_and_its_message_is_escaped(kind: Format) -> None:
    """A traceback can be read; an exception's message cannot drive the terminal."""
    stream = io.StringIO()
    configure("INFO", kind, stream)
    try:
        raise ValueError("amqp://u:hunter2@host \x1b[2J")
    except ValueError:
        logging.getLogger("shop").exception("failed")
    text = stream.getvalue()
    assert "Traceback" in text and "ValueError" in text
    assert "\x1b" not in text and "hunter2" not in text
    assert len(text.splitlines()) == 1 if kind == "json" else len(text.splitlines()) > 3


def test_secrets_are_masked_wherever_they_stand(lines: Lines) -> None:
    """In URLs, in query strings, and under keys that name a secret."""
    url = "amqp://jobs:hunter2@host:5672/vh?x=1&password=hunter2"
    structlog.get_logger().info(
        f"connecting to {url}",
        url=url,
        password="hunter2",
        nested={"api_key": "hunter2", "smtp_password": "hunter2", "list": [url]},
        webhook_secret="hunter2",
        token="hunter2",
        tokens_used=5,
    )
    (line,) = lines()
    assert "hunter2" not in json.dumps(line)
    assert line["url"] == "amqp://jobs:***@host:5672/vh?x=1&password=***"
    assert line["tokens_used"] == 5


def test_a_password_with_an_at_sign_is_masked_whole() -> None:
    """People do write passwords unquoted into URLs."""
    assert mask("amqp://u:p@ss:w@host/v") == "amqp://u:***@host/v"
    assert mask("http://host/?a=b see x@y.example") == "http://host/?a=b see x@y.example"


@pytest.mark.parametrize("name", ["aio_pika", "aiormq.connection", "httpx"])
def test_clients_that_print_bodies_are_capped_at_warning(lines: Lines, name: str) -> None:
    """Even at DEBUG their lines do not show a payload."""
    logging.getLogger(name).debug("body: secret payload")
    logging.getLogger(name).info("body: secret payload")
    logging.getLogger(name).warning("shown")
    assert [line["event"] for line in lines()] == ["shown"]


def test_pika_says_nothing_that_we_do_not_say_better(lines: Lines) -> None:
    """Five errors for each failed try to connect, and bodies at DEBUG."""
    logging.getLogger("pika.adapters").error("stack bring-up failed")
    logging.getLogger("pika").debug("body: secret payload")
    assert lines() == []


def test_a_terminal_gets_the_console_and_a_pipe_gets_json() -> None:
    """The format ``auto`` looks at the stream."""
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        configure("INFO", "auto", stream)
        logging.getLogger("shop").info("hello")
    assert not terminal.getvalue().startswith("{")
    assert json.loads(pipe.getvalue())["event"] == "hello"


def test_configuring_twice_replaces_our_handler_and_nobody_elses() -> None:
    """A handler of the application, for an error tracker say, stays."""
    theirs = logging.NullHandler()
    logging.getLogger().addHandler(theirs)
    first, second = io.StringIO(), io.StringIO()
    configure("INFO", "json", first)
    configure("INFO", "json", second)
    logging.getLogger("shop").info("hello")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
    assert theirs in logging.getLogger().handlers


def test_an_unknown_level_or_format_is_refused() -> None:
    """Before anything is changed for the worse."""
    with pytest.raises(ValueError, match="auto, console or json"):
        configure("INFO", "xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="LOUD"):
        configure("loud")


def test_a_giant_value_is_cut(lines: Lines) -> None:
    """A payload of a megabyte is not a line of a megabyte."""
    logging.getLogger("shop").info("x" * 1_000_000)
    assert len(lines()[0]["event"]) <= 10_001


def test_escape_writes_characters_as_python_does() -> None:
    """A person recognises what stood there."""
    assert escape("a\n\x1b\x9b\u2028") == r"a\n\x1b\x9b\u2028"
    assert escape("a\nb", keep="\n") == "a\nb"


def test_importing_rabbitjobs_leaves_the_applications_logging_alone() -> None:
    """A web application that imports the library keeps its own handlers and structlog setup."""
    code = (
        "import logging, structlog, rabbitjobs.monitor.logs, rabbitjobs.notify.notifier;"
        "print(logging.getLogger().handlers, structlog.is_configured(),"
        "logging.getLogger('pika').level)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", "False", "0"]

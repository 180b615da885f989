"""The demo's servers are real ones: they misbehave as they say, and keep what they promise."""

from __future__ import annotations

import os
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest

from examples.shop import fulfilment_server, mail_server
from examples.shop.processes import Processes
from rabbitjobs.broker.layout import free_ports

MAIL = "examples.shop.mail_server"
CARRIER = "examples.shop.fulfilment_server"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Child processes that end with the test."""
    with Processes(os.environ, tmp_path) as running:
        yield running


def _send(port: int, to: str, number: int) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["X-Order"] = "shop@post.example", to, str(number)
    mail["Message-ID"] = f"<{number}@shop.example>"
    with smtplib.SMTP("127.0.0.1", port) as smtp:
        smtp.send_message(mail)


def test_the_mail_server_greylists_refuses_and_survives_a_kill(
    processes: Processes, tmp_path: Path
) -> None:
    """451 at the first try only, 550 and 554 for good; accepted mail outlives kill -9."""
    # One that Linux gives to no client while the server is down.
    (port,) = free_ports(1)
    start = (MAIL, "--spool", str(tmp_path), "--port", str(port))
    assert processes.start_server("mail-server", *start) == port
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="451"):
        _send(port, "a@greylisting.example", 1)
    with pytest.raises(smtplib.SMTPRecipientsRefused, match="550"):
        _send(port, "a@gone.example", 2)
    with pytest.raises(smtplib.SMTPDataError, match="554"):
        _send(port, "a@strict.example", 3)
    _send(port, "a@post.example", 4)

    processes.kill("mail-server")
    with pytest.raises(ConnectionRefusedError):
        _send(port, "a@post.example", 5)

    assert processes.start_server("mail-server", *start) == port
    _send(port, "a@greylisting.example", 1)
    assert mail_server.received(tmp_path) == [4, 1]


def test_the_carrier_books_once_and_fails_in_between(processes: Processes, tmp_path: Path) -> None:
    """Same number, same parcel; the 37th request meets a 500."""
    port = processes.start_server("carrier-server", CARRIER, "--spool", str(tmp_path))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        answers = [client.put("/shipments/9", json={"cds": 2}) for _ in range(37)]
    assert answers[0].json() == {"parcel": "P0000009", "new": True}
    assert answers[1].json() == {"parcel": "P0000009", "new": False}
    assert [answer.status_code for answer in answers[-2:]] == [200, 500]
    assert fulfilment_server.shipped(tmp_path) == [9]


def test_the_carriers_moods_follow_the_number_of_the_request(tmp_path: Path) -> None:
    """It is down for a while from one request on, then up again with single faults."""
    carrier = fulfilment_server.Carrier(tmp_path)
    before = [carrier.mood(0.0) for _ in range(fulfilment_server.DOWN_AT - 1)]
    assert before.count("500") == 8
    assert before.count("garbage") == 1
    assert [carrier.mood(at) for at in (10.0, 10.9, 11.0, 12.9, 13.0)] == [
        "cut",
        "cut",
        "503",
        "503",
        "ok",
    ]
    carrier.close()


def test_a_server_that_does_not_come_up_is_an_error(processes: Processes) -> None:
    """The demo must not wait for ever for a server that died."""
    with pytest.raises(RuntimeError, match="come up"):
        processes.start_server("broken-server", MAIL, "--no-such-option")

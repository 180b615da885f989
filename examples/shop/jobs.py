"""The shop's jobs: an order is noted and placed, then confirmed, invoiced and shipped.

Which queue and which failure rules hold stands in config/topology.yaml. Every job may run more
than once (a worker can die after the work and before the ack), so each is written to do no harm
the second time: the follow-ups of an order have ids of their own, an invoice is replaced by the
same picture, the carrier books one parcel for each order number. A mail cannot be taken back: it
carries the same Message-ID both times, and so does a line of the journal its number.
"""

from __future__ import annotations

import asyncio
import os
import smtplib
from datetime import timedelta
from email.message import EmailMessage
from functools import cache
from http import HTTPStatus
from pathlib import Path

import httpx

from examples.shop import invoice
from examples.shop.orders import doubt, job_id, parse
from rabbitjobs import RabbitJobs, Retry, Review

app = RabbitJobs()


@cache
def carrier() -> httpx.AsyncClient:
    """One client for each worker process: it keeps its connections, and is slow to make."""
    return httpx.AsyncClient(base_url=os.environ["SHOP_CARRIER"], timeout=10)


class Greylisted(Exception):
    """The recipient's mail server wants us to come again later."""


@app.job("place_order", queue="orders")
async def place_order(number: int, record: str, approved: bool = False) -> str:
    """Read a raw record; send its follow-ups, or ask a person (who may approve it as it is)."""
    order = parse(number, record)
    reason = None if approved else doubt(order)
    if reason is not None:
        raise Review(reason)
    day, total = order.day.isoformat(), str(order.total)
    await asyncio.gather(
        send_confirmation.options(id=job_id(number, "mail")).asend(number, order.email, total),
        render_invoice.options(id=job_id(number, "invoice")).asend(
            number, order.customer, day, order.cds, total
        ),
        ship.options(id=job_id(number, "parcel")).asend(number, order.cds),
    )
    return f"accepted for {order.email}"


@app.job("write_journal", queue="audit")
def write_journal(number: int, record: str) -> None:
    """Enter a record into the journal, as it came: the queue is an ordered one."""
    with Path(os.environ["SHOP_JOURNAL"]).open("a") as journal:
        journal.write(f"{number} {record}\n")


@app.job("send_confirmation", queue="confirmations")
def send_confirmation(number: int, email: str, total: str) -> str:
    """Mail the customer; smtplib blocks, so this job is a plain function and runs in a thread."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@post.example", email
    mail["Subject"] = f"Your order {number}"
    mail["Message-ID"] = f"<{job_id(number, 'mail')}@shop.example>"
    mail["X-Order"] = str(number)
    mail.set_content(f"Thank you. We charge {total} USD.\n")
    with smtplib.SMTP("127.0.0.1", int(os.environ["SHOP_SMTP_PORT"]), timeout=10) as smtp:
        try:
            smtp.send_message(mail)
        except smtplib.SMTPRecipientsRefused as refusal:
            code, answer = refusal.recipients[email]
            if code < 500:  # a 4xx answer is no refusal: the same exception says both
                raise Greylisted(f"{code} {answer!r}") from refusal
            raise
    return str(mail["Message-ID"])


@app.job("render_invoice", queue="invoices")
def render_invoice(
    number: int, customer: int, day: str, cds: int, total: str
) -> dict[str, str | int]:
    """Draw the invoice and write it to the shop's folder."""
    path = Path(os.environ["SHOP_INVOICES"]) / f"{number:06d}.png"
    size = invoice.write(invoice.render(number, customer, day, cds, total), path)
    return {"file": path.name, "bytes": size}


@app.job("ship", queue="fulfilment")
async def ship(number: int, cds: int) -> str:
    """Book a parcel; when the carrier names a time to come again, we come then."""
    answer = await carrier().put(f"/shipments/{number}", json={"cds": cds})
    if answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        pause = timedelta(seconds=int(answer.headers["Retry-After"]))
        raise Retry("the carrier is down", delay=pause)
    answer.raise_for_status()
    return str(answer.json()["parcel"])

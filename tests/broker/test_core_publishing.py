"""Sending on a real broker: threads, forks, and each refusal its own error."""

from __future__ import annotations

import contextlib
import gc
import time
from pathlib import Path

import pytest

from rabbitjobs import RabbitJobs
from rabbitjobs.broker.url import parse_urls
from rabbitjobs.errors import (
    AccessRefused,
    BrokerBlocked,
    BrokerUnavailable,
    QueueFull,
    SendError,
    SendUnknown,
    TooLarge,
    Unroutable,
)
from rabbitjobs.wire.pika import CLOSE_SECONDS
from tests.broker.crew import ECHO, Crew, until

SHOP = ECHO
TOPOLOGY = """
version: 1
namespace: shop
queues:
  work: {}
  short: {max_length: 1}
"""
ALARM = "{resource_limit, memory, node()}"


def test_a_program_that_ends_at_once_has_sent_its_job(shop: Crew) -> None:
    """The confirm was awaited; the end is quick and clean."""
    said = shop.python("from shop import echo; print(echo.send(1).id)")
    assert len(said.strip()) == 36
    assert shop.total("q.work") == 1


def refusal(
    shop: Crew, kind: type[SendError], queue: str, body: object, timeout: float = 10
) -> SendError:
    """Send; expect this very error, with job, queue and id in it."""
    with pytest.raises(kind) as refused:
        shop.app.remote("echo", queue=queue).options(timeout=timeout).send(body)
    assert type(refused.value) is kind
    assert (refused.value.job, refused.value.queue) == ("echo", queue)
    assert refused.value.job_id
    return refused.value


def fill(shop: Crew, queue: str) -> None:
    """Send until the queue says that it is full: its limit is a soft one."""
    calls = [shop.app.remote("echo", queue=queue).call(number) for number in range(5)]
    until(lambda: isinstance(shop.app.send_many(calls)[-1].error, QueueFull))


def test_refusals_are_told_apart(shop: Crew) -> None:
    """Too large, full, no queue, no exchange; and what can be sent, is sent."""
    refusal(shop, TooLarge, "work", "x" * (16 * 1024 * 1024))
    fill(shop, "short")
    refusal(shop, QueueFull, "short", 2)
    shop.node.eval(deleted(shop, "queue", "shop.q.work"))
    refusal(shop, Unroutable, "work", 3)
    shop.node.eval(deleted(shop, "exchange", "shop.jobs"))
    refusal(shop, Unroutable, "work", 4)
    shop.app.apply()
    shop.app.remote("echo", queue="work").send(5)
    assert shop.total("q.work") == 1


def deleted(shop: Crew, kind: str, name: str) -> str:
    """Erlang that deletes an object behind everybody's back."""
    code = f'R = rabbit_misc:r(<<"{shop.vhost}">>, {kind}, <<"{name}">>), '
    if kind == "queue":
        return (
            code
            + "{ok, Q} = rabbit_amqqueue:lookup(R), "
            + 'rabbit_amqqueue:delete(Q, false, false, <<"t">>).'
        )
    return code + 'rabbit_exchange:delete(R, false, <<"t">>).'


@pytest.mark.timeout(180)
def test_alarms_and_outages_are_told_apart(own_shop: Crew) -> None:
    """Blocked, unavailable, unknown: each its own error, and all of them pass."""
    node, echo = own_shop.node, own_shop.app.remote("echo", queue="work")
    echo.send(1)
    node.eval(f"rabbit_alarm:set_alarm({{{ALARM}, []}}).")
    # The alarm is told when something is published: that first one may or may not be stored.
    with pytest.raises((BrokerBlocked, SendUnknown)) as first:
        echo.options(timeout=3).send(2)
    assert "an alarm of the broker blocks publishing (low on memory)" in first.value.text
    refusal(own_shop, BrokerBlocked, "work", 3, timeout=1)
    node.eval(f"rabbit_alarm:clear_alarm({ALARM}).")
    echo.send(4)
    node.pause()
    refusal(own_shop, SendUnknown, "work", 5, timeout=1)
    node.resume()
    echo.send(6)
    node.stop()
    refusal(own_shop, BrokerUnavailable, "work", 7, timeout=1)
    node.start()
    echo.send(8)
    until(lambda: own_shop.total("q.work") in (4, 5, 6))


@pytest.mark.parametrize("wrong", ["password", "user", "vhost"])
def test_a_broker_that_does_not_let_us_in_is_named_so(shop: Crew, wrong: str) -> None:
    """Who was refused where, and never the password; not as if the broker were away."""
    address = parse_urls(shop.url)[0]
    asked = {
        "user": address.user,
        "password": address.password.reveal(),
        "vhost": address.vhost,
        wrong: "nobody-knows",
    }
    url = "amqp://{user}:{password}@{host}:{port}/{vhost}".format(
        **asked, host=address.host, port=address.port
    )
    with shop.app.overridden(
        url=url, store_url=shop.store_url, management_url=shop.node.management_url
    ):
        error = refusal(shop, AccessRefused, "work", 1, timeout=3)
        with pytest.raises(AccessRefused) as topology:
            shop.app.parts.plan()
    for text in (str(error), str(topology.value)):
        assert f"to let user {asked['user']!r} into vhost {asked['vhost']!r}" in text
        assert "correct user, password or vhost" in text
        assert "check the broker" not in text
        assert wrong != "password" or "nobody-knows" not in text
        assert address.password.reveal() not in text


@pytest.mark.parametrize("there", [True, False])
def test_closing_in_the_middle_of_connecting_is_quick_and_leaves_nothing(
    shop: Crew, there: bool
) -> None:
    """At whatever point of the handshake, with a broker that welcomes and one that refuses."""
    url = shop.url if there else f"{shop.url}-is-not-there"
    app = RabbitJobs(config=shop.folder / "config", url=url)
    gc.collect()
    before = open_files()
    for turn in range(40):
        app.parts.session()
        time.sleep(turn / 2000)
        started = time.monotonic()
        app.close()
        # A close that takes longer was not answered, by the broker or by the client library.
        assert time.monotonic() - started < CLOSE_SECONDS
        # At once, and not when the garbage collector comes by.
        assert open_files() <= before


def open_files() -> set[tuple[str, str]]:
    """The descriptors of this process, each with what it is of."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one that lists them
            found.add((link.name, str(link.readlink())))
    return found


def test_one_bad_message_among_many_harms_no_other(shop: Crew) -> None:
    """Its neighbours on the channel are sent again, and nothing is stored twice under two ids."""
    echo = shop.app.remote("echo", queue="work")
    bad = shop.app.remote("echo", queue="work").options(id="i" * 255)
    sent = shop.app.send_many((bad if number == 50 else echo).call(number) for number in range(100))
    assert all(one.ok for one in sent)
    assert shop.total("q.work") == 100

"""The blocking connection for topology work: how it ends never counts."""

from __future__ import annotations

from typing import cast

import pika
import pika.exceptions

from rabbitjobs.broker.url import Address
from rabbitjobs.topology.amqp import Amqp


class BreaksWhileClosing:
    """A connection that the peer resets while it says goodbye."""

    is_open = True

    def close(self) -> None:
        """Too late."""
        raise pika.exceptions.StreamLostError("reset by peer")


def test_a_connection_that_breaks_while_it_is_closed_is_closed() -> None:
    """What was asked has been answered: a worker that starts must not die of it."""
    connection = cast(pika.BlockingConnection, BreaksWhileClosing())
    with Amqp(connection, Address()):
        pass

"""The conformance suite of the wire: every implementation passes the same tests.

For a wire of your own, in a test module::

    from rabbitjobs.testing.conformance import WireConformance

    class TestMyWire(WireConformance):
        @pytest.fixture
        def make_wire(self):
            return MyWire

with an async fixture ``broker`` that yields a started
``rabbitjobs.testing.control.RabbitControl`` on an empty vhost, and pytest-asyncio in auto mode.
Each test takes well under two seconds, but for those that wait for a limit.
"""

from __future__ import annotations

import pytest

_PARTS = ("connection", "consumer_ends", "consuming", "frames", "kit", "poison", "publishing")
# Before they are imported, so that a failed assertion shows its values.
pytest.register_assert_rewrite(*(f"rabbitjobs.testing.wire.{part}" for part in _PARTS))

from rabbitjobs.testing.wire.connection import ConnectionConformance, NetworkConformance  # noqa: E402
from rabbitjobs.testing.wire.consumer_ends import ConsumerEndConformance  # noqa: E402
from rabbitjobs.testing.wire.consuming import ConsumeConformance  # noqa: E402
from rabbitjobs.testing.wire.frames import FrameConformance  # noqa: E402
from rabbitjobs.testing.wire.kit import MakeWire  # noqa: E402
from rabbitjobs.testing.wire.poison import PoisonConformance  # noqa: E402
from rabbitjobs.testing.wire.publishing import PublishConformance  # noqa: E402

__all__ = ["FrameConformance", "MakeWire", "NetworkConformance", "WireConformance"]


class WireConformance(
    PublishConformance,
    ConsumeConformance,
    ConsumerEndConformance,
    PoisonConformance,
    ConnectionConformance,
):
    """What every wire does.

    A wire over a network also passes ``NetworkConformance``, and one that makes its connection by
    itself ``FrameConformance``, which brings a scripted broker of its own.
    """

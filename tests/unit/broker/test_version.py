"""What a broker can do follows from the version it announces, and from nothing else."""

from __future__ import annotations

import pytest

from rabbitjobs.broker.version import from_properties, from_version, parse_version
from rabbitjobs.errors import BrokerError


@pytest.mark.parametrize(
    ("text", "number", "generation"),
    [
        ("3.10.8", (3, 10, 8), "3.10"),
        ("3.13.7", (3, 13, 7), "3.10"),
        ("4.0.5", (4, 0, 5), "4.0"),
        ("4.2.0-rc.1", (4, 2, 0), "4.0"),
        ("4.3.6", (4, 3, 6), "4.3"),
        ("4.3", (4, 3, 0), "4.3"),
        ("4.3.6+2.gdeadbee", (4, 3, 6), "4.3"),
        ("4.10.0", (4, 10, 0), "4.3"),
        ("5.0.0", (5, 0, 0), "4.3"),
    ],
)
def test_a_version_between_two_known_ones_counts_as_the_older(
    text: str, number: tuple[int, int, int], generation: str
) -> None:
    """Never more is relied on than was proven."""
    assert parse_version(text) == number
    assert from_version(text).generation == generation
    assert from_version(text).number == number


@pytest.mark.parametrize("text", ["3.9.29", "2.8.7", "", "four", "4", "99999.1.1"])
def test_what_is_too_old_or_no_version_is_refused(text: str) -> None:
    """With the version in the text."""
    with pytest.raises(BrokerError, match=text or "got ''"):
        from_version(text)


def test_only_rabbitmq_is_taken_for_rabbitmq() -> None:
    """Other brokers speak AMQP 0-9-1 too, and guarantee other things."""
    assert from_properties({"product": b"RabbitMQ", "version": b"4.3.6"}).version == "4.3.6"
    assert from_properties({"product": "RabbitMQ", "version": "4.0.5"}).priority_levels == 2
    for properties in ({"product": "LavinMQ", "version": "4.3.6"}, {}):
        with pytest.raises(BrokerError, match="expected RabbitMQ at this URL"):
            from_properties(properties)


def test_the_reduced_guarantees_of_old_versions_are_told() -> None:
    """doctor shows these sentences."""
    assert from_version("4.3.6").lacks == ()
    assert from_version("4.0.5").lacks
    assert any("security" in text for text in from_version("3.10.8").lacks)
    assert not from_version("3.10.8").unlimited_deliveries

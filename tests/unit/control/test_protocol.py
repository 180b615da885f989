"""What is said over the control exchange: read whole, or not acted on at all."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rabbitjobs.control import protocol
from rabbitjobs.control.protocol import Answer, Request, encode, read_answer, read_request
from rabbitjobs.errors import Undecodable

COMMANDS = (
    protocol.Ping(),
    protocol.Stats(),
    protocol.Active(),
    protocol.Reserved(),
    protocol.Registered(),
    protocol.Stacks(),
    protocol.Cancel(),
    protocol.SetSlots("q", 3),
    protocol.SetRate("q", "10/s", "j"),
    protocol.Pause("q"),
    protocol.Resume("q"),
    protocol.Shutdown(),
)


def test_every_command_travels() -> None:
    """All of them, there and back."""
    assert {type(one) for one in COMMANDS} == set(get_args(protocol.AnyCommand))
    for command in COMMANDS:
        request = Request(at=1.5, who="ann", reply="0123456789ab", to=("h:1",), command=command)
        assert read_request(encode(request)) == request


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": "1"},
        {"more": 1},
        {"reply": "#"},
        {"reply": "../x"},
        {"to": [""]},
        {"to": "all"},
        {"at": "now"},
        {"command": None},
        {"command": {"command": "exec", "code": "1"}},
        {"command": {"command": "ping", "more": 1}},
        {"command": {"command": "set-slots", "queue": "q", "slots": 0}},
        {"command": {"command": "set-slots", "queue": "q", "slots": True}},
        {"command": {"command": "set-slots", "queue": "", "slots": 1}},
        {"command": {"command": "set-slots", "queue": "q" * 256, "slots": 1}},
        {"command": {"command": "pause"}},
    ],
)
def test_what_is_not_wholly_as_it_should_be_is_refused(change: dict[str, object]) -> None:
    """Another version, unknown fields and commands, numbers and texts out of bounds."""
    good = {"v": 1, "at": 1.0, "command": {"command": "ping"}}
    read_request(msgspec.json.encode(good))
    with pytest.raises(Undecodable, match="expected"):
        read_request(msgspec.json.encode(good | change))


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode()))
def test_noise_is_refused_and_nothing_worse(body: bytes) -> None:
    """Neither a request nor an answer, and no error of another kind."""
    with pytest.raises(Undecodable):
        read_request(body)
    assert read_answer(body) is None


@pytest.mark.parametrize("body", [b"[" * 60_000, b" " * 70_000, b'{"at":1e999}'])
def test_what_is_too_deep_or_too_much_is_refused(body: bytes) -> None:
    """Before it costs anything."""
    with pytest.raises(Undecodable):
        read_request(body)


def test_an_answer_travels_and_that_of_another_version_is_none() -> None:
    """A newer worker's answers are not guessed at."""
    answer = Answer(worker="h:1", value=[{"queue": "q"}])
    assert read_answer(encode(answer)) == answer
    assert read_answer(encode(msgspec.structs.replace(answer, v=2))) is None

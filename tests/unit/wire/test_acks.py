"""The ack window against a model of a channel: no ack is early, none is doubled, none is lost."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rabbitjobs.wire.acks import AckWindow


class AckMachine(RuleBasedStateMachine):
    """Deliveries, settlements and hand-backs in any order, flushed at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.window = AckWindow()
        self.last = 0
        self.unsettled: set[int] = set()
        self.settled: set[int] = set()
        self.given_back: list[int] = []
        self.left: set[int] = set()

    @rule()
    def deliver(self) -> None:
        """Tags count up."""
        self.last += 1
        self.window.delivered(self.last)
        self.unsettled.add(self.last)

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        """Any tag: unknown, open, settled or gone; only an open one counts."""
        tag = data.draw(st.integers(1, self.last + 1))
        assert self.window.settle(tag) is (tag in self.unsettled)
        if tag in self.unsettled:
            self.unsettled.remove(tag)
            self.settled.add(tag)

    @precondition(lambda self: self.last)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A settled message is never given back."""
        tag = data.draw(st.integers(1, self.last + 1))
        assert self.window.give_back(tag) is (tag in self.unsettled)
        if tag in self.unsettled:
            self.unsettled.remove(tag)
            self.given_back.append(tag)

    @rule()
    def flush(self) -> None:
        """One ack with ``multiple`` covers settled messages only, and every one of the prefix.

        What is given back is told before it: such an ack would cover it too.
        """
        assert self.window.returned() == self.given_back
        assert self.window.returned() == []
        self._leave(set(self.given_back))
        self.given_back.clear()
        last = self.window.prefix()
        expected = {tag for tag in self.settled if not any(o < tag for o in self.unsettled)}
        if last is None:
            assert not expected
            return
        assert not any(tag <= last for tag in self.unsettled)
        covered = {tag for tag in self.settled if tag <= last}
        assert covered == expected
        self._leave(covered)

    @rule()
    def rest(self) -> None:
        """Every settled message, each once."""
        taken = self.window.rest()
        assert len(taken) == len(set(taken))
        assert set(taken) == self.settled
        self._leave(set(taken))

    def _leave(self, tags: set[int]) -> None:
        assert not tags & self.left
        self.settled -= tags
        self.left |= tags

    @invariant()
    def counts(self) -> None:
        """What is held is what is settled and not acked."""
        assert self.window.held == len(self.settled)
        assert len(self.window) == len(self.settled) + len(self.unsettled)


TestAckWindow = AckMachine.TestCase
TestAckWindow.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

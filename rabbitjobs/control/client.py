"""Asking workers over RabbitMQ, and hearing which of them answered in time.

Named exceptions from "mandatory and confirmed": a request is for those who are there now.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from rabbitjobs.clock import now
from rabbitjobs.control import protocol
from rabbitjobs.control.protocol import Answer, Request
from rabbitjobs.errors import BrokerUnavailable, ControlRefused
from rabbitjobs.message.properties import Properties
from rabbitjobs.topology import names
from rabbitjobs.wire.protocol import Outcome, Outgoing, Rejected, Wire
from rabbitjobs.wire.session import Session
from rabbitjobs.wire.subscription import Handed, State, Subscription

ALL: Final = "all"
"""The routing key that every worker's control queue is bound to."""
CONNECT_SECONDS: Final = 10.0
NUDGE_SECONDS: Final = 2.0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, and the workers that were known and did not answer in time.

    ``silent`` is ``None`` where nobody could say which workers there are.
    """

    answers: tuple[Answer, ...]
    silent: tuple[str, ...] | None


class ControlClient:
    """Asks workers. ``present`` names those that are there; ``None``: it cannot be known.

    For use from one thread, outside of any event loop. Close it with ``close``.
    """

    def __init__(
        self,
        session: Session,
        namespace: str,
        *,
        who: str,
        present: Callable[[], Collection[str] | None] = lambda: None,
    ) -> None:
        self._session = session
        self._namespace = namespace
        self._who = who
        self._present = present
        self._token = os.urandom(12).hex()
        self._queue = names.reply_queue(namespace, self._token)
        self._consuming = threading.Event()
        self._reason = "not connected yet"
        self._asked: float | None = None
        self._answers: dict[str, Answer] = {}
        self._wanted: frozenset[str] | None = None
        self._enough = threading.Event()
        self._refused = ""
        self._subscription: Subscription | None = None
        session.consume()
        session.portal.post(self._subscribe)

    def ask(
        self,
        command: protocol.AnyCommand,
        *,
        timeout: float,
        to: Sequence[str] = (),
    ) -> Asked:
        """Ask the workers ``to`` (all, if none is named) and wait ``timeout`` seconds at most.

        Returns as soon as all that are known have answered. Raises ``BrokerUnavailable``, and
        ``ControlRefused`` if this account may ask nobody.
        """
        if not self._consuming.wait(CONNECT_SECONDS):
            raise BrokerUnavailable(f"expected a queue for answers, got none: {self._reason}")
        present = self._present()
        known = frozenset(to) if to else None if present is None else frozenset(present)
        self._asked = at = now()
        self._answers, self._refused, self._wanted = {}, "", known
        self._enough.clear()
        request = Request(at=at, who=self._who, reply=self._token, to=tuple(to), command=command)
        self._session.publish(_outgoing(self._namespace, request), timeout, self._sent)
        self._enough.wait(timeout)
        if self._refused:
            raise ControlRefused(self._refused)
        answers = tuple(self._answers[worker] for worker in sorted(self._answers))
        silent = None if known is None else tuple(sorted(known - self._answers.keys()))
        return Asked(answers=answers, silent=silent)

    def close(self) -> None:
        """Stop listening; the session is the owner's."""
        if self._subscription is not None:
            self._session.portal.submit(self._subscription.stop()).result(CONNECT_SECONDS)

    # --- on the I/O thread ----------------------------------------------------------------------

    def _subscribe(self) -> None:
        self._subscription = Subscription(
            self._session.consuming,
            self._queue,
            prefetch=1000,
            deliver=self._deliver,
            changed=self._changed,
            prepare=self._declare,
        )

    async def _declare(self, wire: Wire) -> None:
        exchange = names.events_exchange(self._namespace)
        key = protocol.answer_key(self._token)
        await wire.temporary_queue(self._queue, exchange=exchange, keys=(key,))

    def _changed(self, state: State, reason: str) -> None:
        self._reason = reason or state
        if state == "consuming":
            self._consuming.set()
        else:
            self._consuming.clear()

    def _deliver(self, arrived: list[Handed]) -> None:
        assert self._subscription is not None
        for handed in arrived:
            self._subscription.ack(handed)
            answer = protocol.read_answer(handed.delivery.body)
            # One that comes late, to what was asked before, is no answer to this.
            if answer is not None and answer.asked in (None, self._asked):
                self._answers[answer.worker] = answer
        if self._wanted is not None and self._wanted <= self._answers.keys():
            self._enough.set()

    def _sent(self, outcome: Outcome) -> None:
        if not isinstance(outcome, Rejected) or outcome.reason == "unroutable":
            return  # no worker is there: the known ones are silent
        self._refused = f"expected a broker that takes control requests, got: {outcome.text}"
        self._enough.set()


def nudge(session: Session, namespace: str, done: Callable[[Outcome], None]) -> None:
    """Have every worker look for new cancellations; from any thread, nobody answers."""
    request = Request(at=now(), command=protocol.Cancel())
    session.publish(_outgoing(namespace, request), NUDGE_SECONDS, done)


def _outgoing(namespace: str, request: Request) -> Outgoing:
    properties = Properties(
        message_id=os.urandom(8).hex(), content_type="application/json", delivery_mode=1
    )
    body = protocol.encode(request)
    return Outgoing(names.control_exchange(namespace), ALL, properties, body, mandatory=True)

"""What a forked child does with its parent's connections: it lets go of them."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Held(Protocol):
    """A socket, or what holds one; ``fileno`` is negative when it is closed."""

    def fileno(self) -> int:
        """Its number."""
        ...


_held: weakref.WeakSet[Held] = weakref.WeakSet()


def let_go_in_children(held: Held) -> None:
    """Let this socket not outlive its process in a child, whoever forks it."""
    _held.add(held)


def _let_go() -> None:
    """In a forked child: let go of the parent's connections, without a word to the broker.

    A child that held them would keep them open when the parent is killed, and what the parent had
    not acked would come back by the heartbeat only. Nothing is shut down, and no number becomes
    free: whoever closes the socket in the child later closes ``/dev/null``.
    """
    numbers = [held.fileno() for held in tuple(_held)]
    open_numbers = [number for number in numbers if number >= 0]
    if not open_numbers:
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in open_numbers:
        os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


os.register_at_fork(after_in_child=_let_go)

"""Which acks can be sent as one: a window over the delivery tags of one channel (pure)."""

from __future__ import annotations


class AckWindow:
    """Tags in the order of delivery, with those that are settled.

    ``multiple=True`` acknowledges everything up to a tag, so it may only cover the contiguous
    settled prefix; acking a tag twice closes the channel, so each tag leaves the window once.
    """

    __slots__ = ("_open", "held")

    def __init__(self) -> None:
        self._open: dict[int, bool] = {}
        self.held = 0

    def __len__(self) -> int:
        return len(self._open)

    def delivered(self, tag: int) -> None:
        """A message came."""
        self._open[tag] = False

    def settle(self, tag: int) -> bool:
        """Its job is settled; ``False`` if the tag is unknown or was settled before."""
        if self._open.get(tag) is not False:
            return False
        self._open[tag] = True
        self.held += 1
        return True

    def remove(self, tag: int) -> bool:
        """It is given back instead; ``False`` if it is unknown or already settled."""
        if self._open.get(tag) is not False:
            return False
        del self._open[tag]
        return True

    def prefix(self) -> int | None:
        """Take out the settled prefix: the last tag of it, for one ack with ``multiple``."""
        last = None
        taken: list[int] = []
        for tag, settled in self._open.items():
            if not settled:
                break
            taken.append(tag)
            last = tag
        for tag in taken:
            del self._open[tag]
        self.held -= len(taken)
        return last

    def rest(self) -> list[int]:
        """Take out every settled tag, for an ack each."""
        taken = [tag for tag, settled in self._open.items() if settled]
        for tag in taken:
            del self._open[tag]
        self.held = 0
        return taken

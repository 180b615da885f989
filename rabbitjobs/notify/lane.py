"""The lane of one channel: failures wait in it, and leave one by one or folded into a digest."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tenacity

from rabbitjobs import failpoints
from rabbitjobs.errors import NotifyUnavailable
from rabbitjobs.notify.channels import Channel
from rabbitjobs.notify.memory import Layered, Memory
from rabbitjobs.notify.note import Note
from rabbitjobs.notify.options import NotifyOptions
from rabbitjobs.notify.rate import Step, next_step, recent_of
from rabbitjobs.notify.wording import Message, digest, single

_log = logging.getLogger("rabbitjobs.notify")
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """A failure that waits in a lane, and the future of everybody who waits for it."""

    note: Note
    arrived: float
    told: asyncio.Future[None]


class Lane:
    """One channel, one message at a time.

    While a message is being sent, or tried again, the next failures gather behind it: a server
    that comes back after an outage gets one digest instead of a flood.
    """

    def __init__(
        self,
        channel: Channel,
        options: NotifyOptions,
        clock: Callable[[], float],
        memory: Memory | None,
    ) -> None:
        self.channel = channel
        self._options = options
        self._clock = clock
        self._told = Layered(memory)
        self._waiting: deque[Waiting] = deque()
        self._open: dict[str, asyncio.Future[None]] = {}
        self._sent: list[float] = []
        self._arrival = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._patience = tenacity.stop_before_delay(options.patience)

    async def tell(self, note: Note) -> None:
        """Return when ``note`` has left through the channel, alone or in a digest.

        A second call for the same failure, as after a redelivery, waits for the first. Raises
        ``NotifyUnavailable`` when the channel took nothing for the options' ``patience``.
        """
        told = self._open.get(note.key)
        if told is None:
            if await self._told.seen(self._key(note)):
                return
            if self._closing.is_set():
                raise NotifyUnavailable("the notifier has stopped; told later")
            told = self._open.get(note.key) or self._enter(note)
        # Shielded: a caller whose delivery is lost must not take the failure out of the digest.
        await asyncio.shield(told)

    async def close(self) -> None:
        """Stop sending; who waits gets ``NotifyUnavailable``, so that the notes stay queued.

        A try that is under way is waited for: a message that the server took while we hung up
        would be told again after the restart.
        """
        self._closing.set()
        self._arrival.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await asyncio.wait([runner], timeout=self._options.timeout.total_seconds() + 1)
            runner.cancel()
            await asyncio.wait([runner])
        await self.channel.close()

    def _enter(self, note: Note) -> asyncio.Future[None]:
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        told.add_done_callback(lambda done: self._leave(note.key, done))
        self._open[note.key] = told
        self._waiting.append(Waiting(note, self._clock(), told))
        self._arrival.set()
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run(), name=f"notify-{self.channel.name}")
        return told

    def _leave(self, key: str, done: asyncio.Future[None]) -> None:
        self._open.pop(key, None)
        # Read here, because a waiter that was cancelled no longer does.
        if not done.cancelled():
            done.exception()

    async def _run(self) -> None:
        batch: list[Waiting] = []
        try:
            while self._waiting and not self._closing.is_set():
                step = self._step()
                if step.do == "wait":
                    await self._pause(step.until)
                    continue
                count = 1 if step.do == "one" else len(self._waiting)
                batch = [self._waiting.popleft() for _ in range(count)]
                await self._hand_on(batch)
        finally:
            # However the lane ends, nobody may wait on it for ever.
            self._give_up([*batch, *self._waiting], NotifyUnavailable("the lane ended; told later"))
            self._waiting.clear()

    def _step(self) -> Step:
        if not self.channel.capped:
            return Step("one")
        now = self._clock()
        rate, oldest = self._options.rate, self._waiting[0].arrived
        return next_step(rate, self._sent, len(self._waiting), oldest, now)

    async def _pause(self, until: float) -> None:
        self._arrival.clear()
        try:
            async with asyncio.timeout(max(0.001, until - self._clock())):
                await self._arrival.wait()
        except TimeoutError:
            return

    async def _hand_on(self, batch: list[Waiting]) -> None:
        notes = [entry.note for entry in batch]
        title = self._options.title
        message = single(notes[0], title) if len(notes) == 1 else digest(notes, title)
        try:
            await self._send(message)
        except NotifyUnavailable as error:
            # All that gathered behind it goes back as well: it would wait its own patience again,
            # and a note held longer than the broker's consumer timeout is taken away from us.
            self._give_up([*batch, *self._waiting], error)
            self._waiting.clear()
            return
        await self._told.remember([self._key(note) for note in notes])
        failpoints.reach("after-mail")
        for entry in batch:
            if not entry.told.done():
                entry.told.set_result(None)

    async def _send(self, message: Message) -> None:
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(NotifyUnavailable),
            wait=tenacity.wait_exponential_jitter(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            stop=self._over,
            sleep=self._sleep,
            before_sleep=self._say_retry,
            reraise=True,
        )
        await retrying(self._send_once, message)
        now = self._clock()
        self._sent = [*recent_of(self._options.rate, self._sent, now), now]

    def _over(self, state: tenacity.RetryCallState) -> bool:
        return self._closing.is_set() or self._patience(state)

    async def _sleep(self, seconds: float) -> None:
        """Between two tries; ends early when the lane closes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()

    async def _send_once(self, message: Message) -> None:
        try:
            await self.channel.send(message)
        except NotifyUnavailable:
            raise
        # A channel may be the user's own code: whatever it raises, the lane must live on.
        except Exception as error:
            _log.exception("channel %s failed", self.channel.name)
            raise NotifyUnavailable(
                f"expected channel {self.channel.name} to take a message, "
                f"got {type(error).__name__}; see the log"
            ) from error

    def _say_retry(self, state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        _log.warning(
            "notification not taken, try %d: %s",
            state.attempt_number,
            error,
            extra={"channel": self.channel.name, "held": len(self._waiting) + 1},
        )

    def _give_up(self, batch: Sequence[Waiting], error: NotifyUnavailable) -> None:
        for entry in batch:
            if not entry.told.done():
                entry.told.set_exception(error)

    def _key(self, note: Note) -> str:
        return f"{self.channel.name}:{note.key}"

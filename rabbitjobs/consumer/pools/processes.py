"""The processes pool: jobs run in children, and what a child dies of costs only its own job."""

from __future__ import annotations

import asyncio
from collections import deque

from rabbitjobs.consumer.context import Context
from rabbitjobs.consumer.failure import failure_of
from rabbitjobs.consumer.pools.brood import Brood, ending
from rabbitjobs.consumer.pools.frames import Done, FromChild, Progress, Stack
from rabbitjobs.consumer.pools.member import Call, Member
from rabbitjobs.consumer.pools.protocol import Ended, PoolOptions
from rabbitjobs.errors import ChildDied, HardTimeLimit
from rabbitjobs.job.definition import Definition
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.policy.decision import Failure

# A job that was handed to this many children that died before they began it is what they die of.
MOST_HANDED = 3
STACK_SECONDS = 1.0
_OUT_OF_MEMORY = "; the kernel does so when memory runs out"


class ProcessPool:
    """``options.size`` children, each running one job at a time; see ``Pool`` for the methods.

    A hard limit, and the cancelling of a call, kill the child with its process group.
    """

    def __init__(self, options: PoolOptions) -> None:
        self._options = options
        self._brood = Brood(options, self)
        self._idle: list[Member] = []
        self._busy: dict[Call, Member] = {}
        self._waiting: deque[Call] = deque()
        self._stopped = False

    # --- Pool -----------------------------------------------------------------------------------

    def start(self) -> None:
        """See ``Pool``: the app is imported in the process server, then the children are made."""
        self._loop = asyncio.get_running_loop()
        self._brood.start()

    async def run(self, definition: Definition, envelope: Envelope, context: Context) -> Ended:
        """See ``Pool``."""
        soft, hard = definition.soft_limit, definition.hard_limit
        call = Call(
            envelope,
            self._loop.create_future(),
            context,
            soft.total_seconds() if soft is not None else None,
            hard.total_seconds() if hard is not None else None,
        )
        if self._stopped:
            call.future.cancel()
        else:
            context.if_lease_lost(lambda: self._lose(call))
            self._waiting.append(call)
            self._hand_out()
        context.elsewhere(lambda: self._tell(call))
        try:
            return await call.future
        except asyncio.CancelledError as error:
            if self._stopped:
                raise
            self._take_back(call)
            return None, failure_of(error)

    def stop(self) -> None:
        """See ``Pool``."""
        if self._stopped:
            return
        self._stopped = True
        self._brood.stop()
        for call in (*self._waiting, *self._busy):
            call.future.cancel()
        self._waiting.clear()

    async def ended(self) -> None:
        """See ``Pool``."""
        await self._brood.ended.wait()

    # --- jobs -----------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        while self._waiting and self._idle:
            self._hand(self._idle.pop(), self._waiting.popleft())

    def _hand(self, member: Member, call: Call) -> None:
        self._busy[call] = member
        member.hand(call)
        if call.context.is_cancelled:
            member.cancel()
        if call.soft is not None:
            member.timers.append(self._loop.call_later(call.soft, self._brood.interrupt, member))
        if call.hard is not None:
            member.timers.append(self._loop.call_later(call.hard, self._hard, member))
        if member.jobs == self._options.max_jobs_per_child:
            self._brood.renew(member)  # now, so that the next one is ready when this job ends

    def _hard(self, member: Member) -> None:
        member.limit_over = True
        self._brood.kill(member)

    def _tell(self, call: Call) -> None:
        """The job was cancelled: the child that runs it can see that. Without one it never runs."""
        if call in self._busy:
            self._busy[call].cancel()
        elif call in self._waiting:
            self._waiting.remove(call)
            call.future.cancel()

    def _lose(self, call: Call) -> None:
        call.lost = True
        if call in self._busy:
            self._busy[call].lose()

    def _take_back(self, call: Call) -> None:
        """The call was cancelled: it waits for a child, or it is ended by force."""
        if call in self._busy:
            self._brood.kill(self._busy[call])
        elif call in self._waiting:
            self._waiting.remove(call)

    async def stack(self, job_id: str, attempt: int) -> str | None:
        """Where a running job is in its code; ``None`` if its child does not say so in time.

        A child that is in code of C does not, nor one whose job takes all signals.
        """
        for call, member in self._busy.items():
            if (call.envelope.id, call.envelope.attempt) == (job_id, attempt):
                if call.stack is None or call.stack.done():
                    call.stack = self._loop.create_future()
                self._brood.ask(member)
                await asyncio.wait({call.stack}, timeout=STACK_SECONDS)
                return call.stack.result() if call.stack.done() else None
        return None

    # --- what the children do -------------------------------------------------------------------

    def heard(self, member: Member, frame: FromChild) -> None:
        """See ``Keeper``."""
        if isinstance(frame, Done):
            self._end(member, (frame.result, frame.failure))
            if not member.doomed:
                self._free(member, frame.memory)
        elif isinstance(frame, Progress):
            self._options.note_progress(frame.job_id, frame.progress)
        elif isinstance(frame, Stack):
            if member.call is not None and frame.number == member.jobs:
                _resolve(member.call, frame.text)
        else:
            self._brood.ready(member)

    def joined(self, member: Member) -> None:
        """See ``Keeper``."""
        self._idle.append(member)
        self._hand_out()

    def left(self, member: Member) -> None:
        """See ``Keeper``."""
        if member in self._idle:
            self._idle.remove(member)

    def lost(self, member: Member, code: int | None) -> None:
        """See ``Keeper``."""
        self.left(member)
        call = member.call
        if call is None:
            return
        if not member.started and call.handed < MOST_HANDED and not call.future.done():
            member.done()
            del self._busy[call]
            self._waiting.appendleft(call)
            self._hand_out()
            return
        self._end(member, (None, _death(member, call, code)))

    def _end(self, member: Member, ended: Ended) -> None:
        call = member.done()
        if call is not None:
            call.context.noticed = member.noticed
            _resolve(call, None)
            del self._busy[call]
            if not call.future.done():  # it is cancelled, or abandoned by stop
                call.future.set_result(ended)

    def _free(self, member: Member, memory: int) -> None:
        """A child has ended a job: it gets the next one, unless it is worn out."""
        allowed = self._options.max_memory_per_child
        if allowed is not None and memory > allowed:
            self._brood.renew(member)
        if member.due:
            self._brood.settle(member)
        spent = member.jobs == self._options.max_jobs_per_child
        if not spent and not member.doomed:
            self.joined(member)


def _resolve(call: Call, stack: str | None) -> None:
    if call.stack is not None and not call.stack.done():
        call.stack.set_result(stack)


def _death(member: Member, call: Call, code: int | None) -> Failure:
    if member.limit_over:
        text = f"expected the job to end within its hard limit of {call.hard:g} s, got none"
        return failure_of(HardTimeLimit(f"{text}; its process was killed"), "timeout")
    text = f"expected the job's process to live until the job ends, got: {ending(code)}"
    return failure_of(ChildDied(text + (_OUT_OF_MEMORY if code == -9 else "")), "crash")

"""Many processes from one command: started again when they crash, stopped in order, shown."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

import structlog
import tenacity

from rabbitjobs.clock import now
from rabbitjobs.events import Bus, ProcessEnded
from rabbitjobs.process.child import Child
from rabbitjobs.process.health import Health, Part
from rabbitjobs.process.rolling import Rolling
from rabbitjobs.process.state import VARIABLE

if TYPE_CHECKING:
    from pathlib import Path

    from rabbitjobs.process.address import Address
    from rabbitjobs.process.table import Table

log = structlog.get_logger("rabbitjobs.supervisor")
# A process that lived this long was fine: its next crash starts the backoff anew.
FINE_SECONDS = 30.0
PAUSES = tenacity.wait_exponential_jitter(multiplier=0.5, max=30, jitter=0.5)
# So many ends in a row, each soon after the start, are called a crash loop.
LOOP = 3
# What a process gets beyond its own grace before it is killed.
LATE_SECONDS = 10.0
LINE_BYTES = 65_536
# For the last lines that a process wrote about itself.
WATCH_SECONDS = 1.0


class Supervisor:
    """Keeps children running until SIGTERM or SIGINT; ``grace`` is the seconds they may take.

    SIGHUP begins a rolling restart; when the terminal is gone, it ends everything in order.
    ``alongside`` run on the loop meanwhile, and may call ``renew``. ``table`` shows the processes
    in a terminal. ``bus`` is told what happens to the processes. ``health`` is where it
    says whether all of them work: an address and a file.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        grace: float,
        alongside: Sequence[Callable[[Supervisor], Coroutine[Any, Any, None]]] = (),
        table: bool = True,
        bus: Bus | None = None,
        health: tuple[Address | None, Path | None] = (None, None),
    ) -> None:
        self.children = list(children)
        self._grace = grace
        self._alongside = alongside
        self.bus = Bus() if bus is None else bus  # one that nobody listens to is false
        self._rolling = Rolling(self)
        self._health = Health(self._parts, *health)
        self._keeping: set[asyncio.Task[int]] = set()
        self._terminal = sys.stderr.isatty()
        # With a live table the children's lines go through it: two writers would tear it apart.
        self._table = table and sys.stderr.isatty()
        self._said: list[str] = []
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()

    def run(self) -> int:
        """Supervise; returns the exit code: 0 after an orderly stop."""
        return asyncio.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            again = self._stopping.is_set()
            (self._hurry if again else self._stopping).set()
            for child in self.children:
                # One that was replaced was told before: a second signal would be sharp.
                if again or not child.leaving.is_set():
                    self._signal(child, signal.SIGTERM)

        def on_hangup() -> None:
            # Of a terminal that is gone nothing can be asked any more.
            if self._terminal and not sys.stderr.isatty():
                on_signal()
            else:
                self._rolling.ask()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        loop.add_signal_handler(signal.SIGHUP, on_hangup)
        await self._health.start()
        beside = [
            loop.create_task(work)
            for work in (self._show(), self._rolling.run(), *(one(self) for one in self._alongside))
        ]
        for task in beside:
            task.add_done_callback(_report_fault)
        for child in self.children:
            self.keep(child)
        codes = await self._all_ended()
        self._tell()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        await self._health.stop()
        # One that was still starting has no handler yet and ends by the signal itself.
        orderly = (0, -signal.SIGTERM, -signal.SIGINT)
        return 0 if all(code in orderly for code in codes) else 1

    def renew(self) -> None:
        """End every child in order and start it again at once, the failed ones too."""
        for child in self.children:
            child.renewing = True
            child.news.set()
            self._signal(child, signal.SIGTERM)

    @property
    def stopping(self) -> bool:
        """Whether everything is to end."""
        return self._stopping.is_set()

    def keep(self, child: Child) -> asyncio.Task[int]:
        """Keep a child running from now on; the task ends with it, when it is to end for good."""
        if child not in self.children:  # it is shown behind the one that it is to replace
            names = [one.name for one in self.children]
            place = names.index(child.name) + 1 if child.name in names else len(names)
            self.children.insert(place, child)
        task = asyncio.get_running_loop().create_task(self._keep(child))
        self._keeping.add(task)
        return task

    def retire(self, child: Child) -> None:
        """End a child in order, and do not start it again."""
        child.leaving.set()
        child.news.set()
        self._signal(child, signal.SIGTERM)

    async def _all_ended(self) -> list[int]:
        codes = []
        while self._keeping:
            done, _ = await asyncio.wait(self._keeping, return_when=asyncio.FIRST_COMPLETED)
            codes += [task.result() for task in done]
            self._keeping -= done
        return codes

    # --- one child ------------------------------------------------------------------------------

    async def _keep(self, child: Child) -> int:
        while True:
            code = await self._live(child)
            if self._stopping.is_set() or child.leaving.is_set() or child.trial:
                return self._over(child, code)
            if child.renewing:
                child.failures = 0
                continue
            pause = self._ended(child, code)
            await self._pause(child, pause)
            if self._stopping.is_set() or child.leaving.is_set():
                return self._over(child, 0)

    def _over(self, child: Child, code: int) -> int:
        """It has ended for good; what somebody else goes on with is no fault of ours."""
        child.stands("stopped", f"exit {code}")
        replaced = (child.leaving.is_set() or child.trial) and not self._stopping.is_set()
        if replaced:
            self.children.remove(child)
        self._tell()
        return 0 if replaced else code

    def _ended(self, child: Child, code: int) -> float:
        """It ended by itself: say so; returns the pause before it is started again, in seconds."""
        long = time.monotonic() - child.since > FINE_SECONDS
        child.failures = 0 if long else child.failures + 1
        child.restarts += 1
        pause, ending = _pause(child.failures), _ending(code)
        child.stands("restarting", f"ended with {ending}, again in {pause:.1f} s")
        looping = child.failures >= LOOP
        log.error(
            "process is in a crash loop" if looping else "process ended; it is started again",
            process=child.name,
            ending=ending,
            pause=round(pause, 1),
            **({"failures": child.failures} if looping else {}),
        )
        self.bus.emit(
            ProcessEnded(
                at=now(), process=child.name, ending=ending, failures=child.failures, pause=pause
            )
        )
        self._tell()
        return pause

    async def _pause(self, child: Child, seconds: float) -> None:
        """Wait, unless there is something to do before."""
        if child.renewing or child.leaving.is_set():
            return
        child.news.clear()
        waits = [asyncio.ensure_future(one.wait()) for one in (self._stopping, child.news)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _live(self, child: Child) -> int:
        # What is asked for from here on is about this process: it may have read the old code.
        child.renewing = False
        child.since = time.monotonic()
        child.stands("starting")
        self._tell()
        try:
            ours = await self._start(child)
        except OSError as error:  # no room for another process: the others go on
            log.error("process cannot be started", process=child.name, reason=str(error))
            return os.EX_OSERR
        assert child.process is not None
        loop = asyncio.get_running_loop()
        child.watching = [loop.create_task(self._watch(child, ours))]
        if child.process.stdout is not None:
            child.watching.append(loop.create_task(self._listen(child.process.stdout)))
        if self._stopping.is_set() or child.renewing or child.leaving.is_set():
            self._signal(child, signal.SIGTERM)
        code = await self._wait(child, child.process)
        child.process = None
        # Not for ever: a process that a job forked holds the pipe open after its parent's end.
        await asyncio.wait(child.watching, timeout=WATCH_SECONDS)
        for task in child.watching:
            task.cancel()
        return code

    async def _start(self, child: Child) -> int:
        """Start its process; the end of the pipe on which that tells where it stands."""
        ours, theirs = os.pipe()
        os.set_inheritable(theirs, True)
        # A session of its own: Ctrl-C in the terminal reaches the children once, through us.
        pipe = asyncio.subprocess.PIPE if self._table else None
        try:
            child.process = await asyncio.create_subprocess_exec(
                *child.command,
                env={**os.environ, VARIABLE: str(theirs)},
                pass_fds=(theirs,),
                start_new_session=True,
                stdout=pipe,
                stderr=asyncio.subprocess.STDOUT if self._table else None,
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        return ours

    async def _listen(self, output: asyncio.StreamReader) -> None:
        # By pieces: a line may be longer than any limit, and a pipe that nobody reads any more
        # would stop the worker that writes to it.
        rest = b""
        while piece := await output.read(LINE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            rest = rest[-LINE_BYTES:]
            self._said.extend(line.decode(errors="replace") for line in lines)
            self._tell()

    async def _wait(self, child: Child, process: asyncio.subprocess.Process) -> int:
        ending = asyncio.ensure_future(process.wait())
        told = [asyncio.ensure_future(one.wait()) for one in (self._stopping, child.leaving)]
        await asyncio.wait([ending, *told], return_when=asyncio.FIRST_COMPLETED)
        for wait in told:
            wait.cancel()
        try:
            async with asyncio.timeout(None if ending.done() else self._grace + LATE_SECONDS):
                return await asyncio.shield(ending)
        except TimeoutError:
            log.error("process did not stop in time; it is killed", pid=process.pid)
            process.kill()
            return await ending

    async def _watch(self, child: Child, descriptor: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
        )
        try:
            async for line in reader:
                told = json.loads(line)
                child.stands(told["state"], told["reason"])
                self._tell()
        finally:
            transport.close()

    def _signal(self, child: Child, number: signal.Signals) -> None:
        if child.process is not None and child.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
                child.process.send_signal(number)

    # --- the table ------------------------------------------------------------------------------

    def _tell(self) -> None:
        self._changed.set()
        self._health.changed()

    def _parts(self) -> Sequence[Part]:
        return [
            Part(child.name, child.state, child.reason, child.restarts)
            for child in self.children
            if not child.trial and not child.leaving.is_set()
        ]

    async def _show(self) -> None:
        if not self._table:
            return
        from rabbitjobs.process.table import Table

        with Table() as table:
            try:
                while True:
                    self._draw(table)
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(1):
                            await self._changed.wait()
            finally:
                self._draw(table)

    def _draw(self, table: Table) -> None:
        said, self._said = self._said, []
        table.show(self.children, said)


def _report_fault(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("something beside the processes failed", exc_info=task.exception())


def _pause(failures: int) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = max(failures, 1)
    return PAUSES(state)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

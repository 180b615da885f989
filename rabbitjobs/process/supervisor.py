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

from rabbitjobs.process.child import Child
from rabbitjobs.process.state import VARIABLE

if TYPE_CHECKING:
    from rabbitjobs.process.table import Table

log = structlog.get_logger("rabbitjobs.supervisor")
# A process that lived this long was fine: its next crash starts the backoff anew.
FINE_SECONDS = 30.0
PAUSES = tenacity.wait_exponential_jitter(multiplier=0.5, max=30, jitter=0.5)
# What a process gets beyond its own grace before it is killed.
LATE_SECONDS = 10.0
LINE_BYTES = 65_536
# For the last lines that a process wrote about itself.
WATCH_SECONDS = 1.0


class Supervisor:
    """Keeps children running until SIGTERM or SIGINT; ``grace`` is the seconds they may take.

    ``alongside`` runs on the loop meanwhile, and may call ``renew``. ``table`` shows the processes
    in a terminal.
    """

    def __init__(
        self,
        children: Sequence[Child],
        *,
        grace: float,
        alongside: Callable[[Supervisor], Coroutine[Any, Any, None]] | None = None,
        table: bool = True,
    ) -> None:
        self.children = list(children)
        self._grace = grace
        self._alongside = alongside
        # With a live table the children's lines go through it: two writers would tear it apart.
        self._table = table and sys.stderr.isatty()
        self._said: list[str] = []
        self._renew = asyncio.Event()
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._changed = asyncio.Event()

    def run(self) -> int:
        """Supervise; returns the exit code: 0 after an orderly stop."""
        return asyncio.run(self._main())

    async def _main(self) -> int:
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            (self._hurry if self._stopping.is_set() else self._stopping).set()
            for child in self.children:
                self._signal(child, signal.SIGTERM)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        beside = [loop.create_task(self._show())]
        if self._alongside is not None:
            beside.append(loop.create_task(self._alongside(self)))
        codes = await asyncio.gather(*(self._keep(child) for child in self.children))
        self._tell()
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        # One that was still starting has no handler yet and ends by the signal itself.
        orderly = (0, -signal.SIGTERM, -signal.SIGINT)
        return 0 if all(code in orderly for code in codes) else 1

    def renew(self) -> None:
        """End every child in order and start it again at once, the failed ones too."""
        self._renew.set()
        for child in self.children:
            child.renewing = True
            self._signal(child, signal.SIGTERM)

    # --- one child ------------------------------------------------------------------------------

    async def _keep(self, child: Child) -> int:
        while True:
            code = await self._live(child)
            if self._stopping.is_set():
                child.state, child.reason = "stopped", f"exit {code}"
                self._tell()
                return code
            if child.renewing:
                child.failures = 0
                continue
            child.failures = (
                0 if time.monotonic() - child.since > FINE_SECONDS else child.failures + 1
            )
            child.restarts += 1
            pause = _pause(child.failures)
            child.state, child.reason = (
                "restarting",
                f"ended with {_ending(code)}, again in {pause:.1f} s",
            )
            log.error(
                "process ended; it is started again",
                process=child.name,
                ending=_ending(code),
                pause=round(pause, 1),
            )
            self._tell()
            await self._pause(pause)
            if self._stopping.is_set():
                child.state = "stopped"
                return 0

    async def _pause(self, seconds: float) -> None:
        """Wait, unless there is something to do before."""
        self._renew.clear()
        waits = [asyncio.ensure_future(one.wait()) for one in (self._stopping, self._renew)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _live(self, child: Child) -> int:
        # What is asked for from here on is about this process: it may have read the old code.
        child.renewing = False
        child.since = time.monotonic()
        child.state, child.reason = "starting", ""
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
        if self._stopping.is_set() or child.renewing:
            self._signal(child, signal.SIGTERM)
        code = await self._wait(child.process)
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

    async def _wait(self, process: asyncio.subprocess.Process) -> int:
        ending = asyncio.ensure_future(process.wait())
        stopping = asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait([ending, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
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
                child.state, child.reason = told["state"], told["reason"]
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


def _pause(failures: int) -> float:
    state = tenacity.RetryCallState(tenacity.Retrying(), None, (), {})
    state.attempt_number = max(failures, 1)
    return PAUSES(state)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

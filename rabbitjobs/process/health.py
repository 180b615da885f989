"""Readiness and liveness, by HTTP and by a file, for whoever starts and watches processes.

It is served by the event loop that does the work: one that is blocked does not answer, and its
file grows old.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from rabbitjobs.errors import WorkerError
from rabbitjobs.events import Bus, ConsumerChanged, Event, WorkerStopping
from rabbitjobs.process.address import Address, listening

log = structlog.get_logger("rabbitjobs.health")
# How often the file is written when nothing changes.
BEAT_SECONDS = 5.0
# What a client has to send its request, and how long that may be.
REQUEST_SECONDS = 5.0
REQUEST_BYTES = 8192
_PATHS: Final = ("/ready", "/live")


class Part(msgspec.Struct, frozen=True):
    """One process or subscription: its name, where it stands, and why."""

    name: str
    state: str
    reason: str = ""
    restarts: int = 0


class Subscriptions:
    """Where the subscriptions of this process stand, as its events say."""

    def __init__(self, bus: Bus) -> None:
        self._known: dict[str, ConsumerChanged] = {}
        self._stopping = False
        self.changed: Callable[[], None] = lambda: None
        bus.listen(self._hear, each=False)

    def __call__(self) -> Sequence[Part]:
        """All that are known; none: it has not begun."""
        state = "stopping" if self._stopping else ""
        return [Part(one.queue, state or one.state, one.reason) for one in self._known.values()]

    def _hear(self, event: Event) -> None:
        if isinstance(event, ConsumerChanged):
            self._known[event.queue] = event
        elif isinstance(event, WorkerStopping):
            self._stopping = True
        else:
            return
        self.changed()


class Health:
    """Says whether all ``parts`` consume, at ``address`` and in ``file``; either may be ``None``.

    HTTP: ``/ready`` is 200 while they do, else 503; ``/live`` is 200. The file begins with
    ``ready`` or ``not ready``, is written anew at each change and every five seconds, and is
    removed at the end. Reasons are told on the machine's own addresses only.
    """

    def __init__(
        self, parts: Callable[[], Sequence[Part]], address: Address | None, file: Path | None
    ) -> None:
        self._parts = parts
        self._address = address
        self._file = file
        self._socket: socket.socket | None = None
        self._server: asyncio.Server | None = None
        self._writing: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def ready(self) -> bool:
        """Whether everything that is known consumes, and something is known."""
        parts = self._parts()
        return bool(parts) and all(one.state == "consuming" for one in parts)

    @property
    def port(self) -> int:
        """Where it listens; 0 if it does not."""
        return int(self._socket.getsockname()[1]) if self._socket is not None else 0

    def open(self) -> None:
        """Take the address and write the file; raises ``WorkerError`` where that is not possible.

        Done once: what asks from now on waits for ``start``.
        """
        if self._address is not None and self._socket is None:
            self._socket = listening(self._address)
            log.info("health is served", host=self._address.host, port=self.port)
        if self._file is not None:
            try:
                self._write(self._file)
            except OSError as error:
                raise WorkerError(
                    f"expected a health file that can be written, got {error}; name another one"
                ) from None

    async def start(self) -> None:
        """Answer and write from now on, by this loop; opens what is not open yet."""
        self.open()
        self._loop, self._changed = asyncio.get_running_loop(), asyncio.Event()
        if self._socket is not None:
            # A copy: the address stays ours when another loop goes on with it.
            self._server = await asyncio.start_server(
                self._serve, sock=self._socket.dup(), limit=REQUEST_BYTES
            )
        if self._file is not None:
            self._writing = self._loop.create_task(self._keep_writing(self._file))

    def changed(self) -> None:
        """Something is in another state: any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._changed.set)

    async def pause(self) -> None:
        """This loop answers no more: another one will."""
        if self._server is not None:
            self._server.close()
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait({self._writing})
        self._server = self._writing = self._loop = None

    async def stop(self) -> None:
        """Listen no more, and remove the file."""
        await self.pause()
        self.close()

    def close(self) -> None:
        """The end of ``open``."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.unlink()

    @contextlib.contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Answer by a thread meanwhile: the process waits for its broker, and has no loop yet.

        It lives and is not ready. What is raised inside ends it all.
        """
        self.open()
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="rabbitjobs-health", daemon=True)
        thread.start()
        asyncio.run_coroutine_threadsafe(self.start(), loop).result()
        try:
            yield
        except BaseException:
            self.close()
            raise
        finally:
            asyncio.run_coroutine_threadsafe(self.pause(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    # --- HTTP -----------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that is slow, gone, or no client of ours
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        if path not in _PATHS:
            return _response(404, {"paths": _PATHS}, method)
        if method not in ("GET", "HEAD"):
            return _response(405, {"methods": ("GET", "HEAD")}, method)
        ready = self.ready
        status = 200 if ready or path == "/live" else 503
        return _response(status, {"ready": ready, "parts": self._told()}, method)

    def _told(self) -> Sequence[Part]:
        parts = self._parts()
        if self._address is not None and self._address.private:
            return parts
        # What an error says is for those who run the machine.
        return [msgspec.structs.replace(one, reason="") for one in parts]

    # --- the file -------------------------------------------------------------------------------

    async def _keep_writing(self, path: Path) -> None:
        while True:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self._changed.wait()
            try:
                self._write(path)
            except OSError as error:
                log.error("the health file cannot be written", file=str(path), reason=str(error))

    def _write(self, path: Path) -> None:
        lines = ["ready" if self.ready else "not ready"]
        lines += [f"{one.name}: {one.state}" for one in self._parts()]
        # Beside it, then in its place: a reader never finds half of it.
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        beside.replace(path)


def _response(status: int, body: object, method: str) -> bytes:
    data = msgspec.json.encode(body) + b"\n"
    head = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else data)

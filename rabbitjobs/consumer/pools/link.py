"""The worker's side of the process server: started, asked for children, and seen off."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from typing import Protocol

import msgspec

from rabbitjobs.consumer.pools.frames import (
    CONTROL_BYTES,
    Broken,
    Died,
    Fork,
    FromServer,
    Interrupt,
    Kill,
    Serving,
    Setup,
    Stop,
    ToServer,
    encode,
    received,
)
from rabbitjobs.consumer.pools.server import server_command, written

# An app whose import takes longer is reported, and its server killed and started anew.
START_SECONDS = 120.0


class Listener(Protocol):
    """Who is told what the server does."""

    def serving(self, threads: tuple[str, ...]) -> None:
        """It can make children."""
        ...

    def died(self, key: int, code: int) -> None:
        """A child has ended."""
        ...

    def gone(self, reason: str) -> None:
        """The server itself has ended, and its children with it."""
        ...


class ServerLink:
    """One process server, from its start to its end."""

    def __init__(self, setup: Setup, listener: Listener) -> None:
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._decode = msgspec.msgpack.Decoder(FromServer).decode
        self._reason = ""
        self._serving = False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        shown = written(setup)
        try:
            with theirs:
                # A session of its own: what the terminal sends is for the worker alone.
                self._process = subprocess.Popen(
                    server_command(shown, theirs.fileno()),
                    pass_fds=(theirs.fileno(), shown),
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except OSError:
            ours.close()
            raise
        finally:
            os.close(shown)
        self._loop.add_reader(ours, self._read)
        self._late = self._loop.call_later(START_SECONDS, self._too_late)

    def fork(self, key: int, pipe: int, mark: int) -> None:
        """Have a child made; ``pipe`` and ``mark`` are copied to it."""
        self._send(Fork(key), (pipe, mark))

    def kill(self, key: int) -> None:
        """Kill a child with its group; nothing happens if it has ended."""
        self._send(Kill(key))

    def interrupt(self, key: int) -> None:
        """Send a child the signal of the soft limit."""
        self._send(Interrupt(key))

    def stop(self) -> None:
        """End the server and its children; ``gone`` is called when that is done."""
        self._send(Stop())
        if not self._serving:  # it imports the app, and would read that afterwards only
            self._process.kill()

    def _send(self, request: ToServer, descriptors: tuple[int, ...] = ()) -> None:
        try:
            socket.send_fds(self._control, [encode(request)], descriptors)
        except BlockingIOError:  # it has a long queue of requests: it is stuck
            self._process.kill()
        except OSError:  # it is gone, which is read in a moment
            pass

    def _read(self) -> None:
        while (data := received(self._control, CONTROL_BYTES)) is not None:
            if not data:
                self._close()
                return
            self._hear(self._decode(data))

    def _hear(self, news: FromServer) -> None:
        if isinstance(news, Died):
            self._listener.died(news.key, news.code)
        elif isinstance(news, Serving):
            self._late.cancel()
            self._serving = True
            self._listener.serving(news.threads)
        elif isinstance(news, Broken):
            self._reason = f"the app cannot be imported there: {news.reason}"

    def _too_late(self) -> None:
        self._reason = f"the import of the app took more than {START_SECONDS:.0f} s"
        self._process.kill()

    def _close(self) -> None:
        self._late.cancel()
        self._loop.remove_reader(self._control)
        self._control.close()
        code = self._process.wait()  # its end of the control is closed: it is on its way out
        self._listener.gone(self._reason or f"it ended with exit code {code}")

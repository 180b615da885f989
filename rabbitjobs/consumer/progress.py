"""What running jobs say of how far they are: into the store for handles, and to who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from rabbitjobs import events
from rabbitjobs.backend.protocol import Progress, Recorder
from rabbitjobs.clock import now
from rabbitjobs.consumer.handle import about
from rabbitjobs.job.registry import Registry
from rabbitjobs.message.envelope import Envelope
from rabbitjobs.wire.mailbox import Mailbox

_decode = msgspec.json.Decoder(Progress).decode


class Progressing:
    """The ways of progress in one consumer; ``running`` finds an attempt that runs, on the loop."""

    def __init__(
        self,
        registry: Registry,
        recorder: Recorder | None,
        bus: events.Bus,
        running: Callable[[str], Envelope | None],
    ) -> None:
        self._registry = registry
        self._recorder = recorder
        self._bus = bus
        self._running = running
        self._mailbox: Mailbox | None = None

    def start(self) -> None:
        """Begin; on the loop that events are emitted on."""
        self._mailbox = Mailbox(asyncio.get_running_loop())

    def note(self, job_id: str, progress: bytes) -> None:
        """A job of this process says how far it is; any thread."""
        if self._recorder is not None:
            self._recorder.progress(job_id, progress)
        self.tell(job_id, progress)

    def tell(self, job_id: str, progress: bytes) -> None:
        """The same of a job whose result is not kept: there is no row for it; any thread."""
        if self._bus.each and self._mailbox is not None:
            self._mailbox.post(self._emit, job_id, progress)

    def heard(self, job_id: str, progress: bytes) -> None:
        """A job in another process says how far it is; on the loop."""
        envelope = self._running(job_id)
        definition = self._registry.get(envelope.job) if envelope is not None else None
        kept = definition is None or not definition.ignore_result
        (self.note if kept else self.tell)(job_id, progress)

    def _emit(self, job_id: str, progress: bytes) -> None:
        envelope = self._running(job_id)
        if envelope is None:  # it has ended meanwhile
            return
        try:
            said = _decode(progress)
        except msgspec.MsgspecError:  # numbers that JSON has no word for
            return
        self._bus.emit(
            events.JobProgress(
                at=now(), done=said.done, total=said.total, note=said.note, **about(envelope)
            )
        )

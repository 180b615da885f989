"""Where running jobs are in their code, seen from another thread."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import traceback
from types import FrameType
from typing import Any, Final

from rabbitjobs.consumer.context import context_in
from rabbitjobs.message.envelope import Envelope

TEXT_KEPT: Final = 8000
_OURS: Final = "/rabbitjobs/consumer/"


def thread_stacks() -> dict[tuple[str, int], str]:
    """The stacks of all threads that are in a job now, by (job id, attempt)."""
    found: dict[tuple[str, int], str] = {}
    for frame in sys._current_frames().values():
        key = _job_of(frame)
        if key is not None:
            found[key] = frame_stack(frame)
    return found


def frame_stack(frame: FrameType | None) -> str:
    """The stack of a frame, without the frames of ours."""
    return _text(traceback.extract_stack(frame))


def coroutine_stack(task: asyncio.Task[Any]) -> str | None:
    """What a task waits for, outermost first; ``None`` if nothing of the job's own is there."""
    frames: list[traceback.FrameSummary] = []
    found: Any = task.get_coro()
    while found is not None:
        frame = getattr(found, "cr_frame", None) or getattr(found, "gi_frame", None)
        if frame is not None:
            frames += traceback.StackSummary.extract([(frame, frame.f_lineno)])
        found = getattr(found, "cr_await", None) or getattr(found, "gi_yieldfrom", None)
        if isinstance(found, asyncio.Task):  # a job with limits runs in a task of its own
            found = found.get_coro()
    return _text(frames) if frames else None


def _job_of(frame: FrameType | None) -> tuple[str, int] | None:
    """The job that a thread is in: one of the pool's, or the loop's own that a coroutine blocks."""
    while frame is not None:
        code, seen = frame.f_code, frame.f_locals
        if _OURS in code.co_filename and code.co_name == "_work":
            variables = seen.get("context")
            job = context_in(variables) if isinstance(variables, contextvars.Context) else None
            return (job.job_id, job.attempt) if job is not None else None
        if _OURS in code.co_filename and code.co_name == "execute":
            envelope = seen.get("envelope")
            return (envelope.id, envelope.attempt) if isinstance(envelope, Envelope) else None
        frame = frame.f_back
    return None


def _text(frames: list[traceback.FrameSummary]) -> str:
    own = [frame for frame in frames if _OURS not in frame.filename] or frames
    return "".join(traceback.format_list(own))[-TEXT_KEPT:]

"""What makes two failures the same: the job, the error's type, and the way through the code."""

from __future__ import annotations

import hashlib
import re

from rabbitjobs.policy.decision import Failure

FRAMES_TAKEN = 10
_FRAME = re.compile(r'^\s*File "([^"\n]*)", line \d+, in (.+?)\s*$', re.MULTILINE)
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_NUMBER = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+")


def fingerprint(job: str | None, failure: Failure) -> str:
    """A short hash that is the same for failures of the same cause, over releases and machines.

    Line numbers and folders are left out, and how deep a recursion went; the innermost frames
    count. Without a traceback the error's text stands in, its numbers and quotes left out.
    """
    way = frames(failure.traceback) or (normalised(failure.error),)
    parts = (job or "", failure.error_type, *way)
    return hashlib.sha256("\n".join(parts).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def frames(traceback: str) -> tuple[str, ...]:
    """The innermost frames as ``folder/file.py:function``; one that repeats itself stands once."""
    found: list[str] = []
    for path, function in _FRAME.findall(traceback):
        frame = f"{'/'.join(path.replace(chr(92), '/').split('/')[-2:])}:{function}"
        if not found or found[-1] != frame:
            found.append(frame)
    return tuple(found[-FRAMES_TAKEN:])


def normalised(text: str) -> str:
    """The first line of an error's text without what differs from case to case."""
    first = text.split("\n", 1)[0][:300]
    return _NUMBER.sub("#", _QUOTED.sub("'?'", first))

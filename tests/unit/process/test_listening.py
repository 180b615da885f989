"""What a supervised worker says is read whatever its length: a pipe must never fill up."""

from __future__ import annotations

import asyncio

from rabbitjobs.process.supervisor import LINE_BYTES, Supervisor


async def test_lines_of_any_length_are_read_to_the_end() -> None:
    """A very long one is cut, and those after it are not lost."""
    supervisor = Supervisor([], grace=1.0)
    output = asyncio.StreamReader()
    output.feed_data(b"first\n" + b"x" * 5 * LINE_BYTES + b"\nlast \xff\n")
    output.feed_eof()
    await supervisor._listen(output)
    first, long, last = list(supervisor._said)
    assert (first, last) == ("first", "last �")
    assert LINE_BYTES <= len(long) <= 2 * LINE_BYTES

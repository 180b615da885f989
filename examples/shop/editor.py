"""A stand-in for the person at the keyboard: an $EDITOR that mends one order.

``rabbitjobs review edit`` opens $EDITOR on the job's arguments; this one replaces a text in the
file by another, as a person would: python -m examples.shop.editor OLD NEW FILE
"""

from __future__ import annotations

import sys
from pathlib import Path


def mend(text: str, old: str, new: str) -> str:
    """Replace one text by another. Raises ``ValueError`` if it is not there exactly once."""
    if text.count(old) != 1:
        raise ValueError(f"expected {old!r} once in the arguments, got it {text.count(old)} times")
    return text.replace(old, new)


if __name__ == "__main__":
    file = Path(sys.argv[3])
    file.write_text(mend(file.read_text(), sys.argv[1], sys.argv[2]))

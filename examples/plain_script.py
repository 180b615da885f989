"""A plain script: send, wait, print. `python -m examples.plain_script world`"""

from __future__ import annotations

import sys

from examples.greetings import add, greet


def main(name: str) -> None:
    """Send two jobs, and read their results when they are there."""
    greeting = greet.send(name)
    total = add.send(19, 23)
    print(greeting.result(timeout=30), total.result(timeout=30))


if __name__ == "__main__":
    main(sys.argv[1])

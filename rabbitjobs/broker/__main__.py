"""``python -m rabbitjobs.broker [VERSION ...]``: get the RabbitMQ that private nodes run."""

from __future__ import annotations

import sys

from rabbitjobs.broker.install import provide
from rabbitjobs.errors import NodeError


def main(versions: list[str]) -> int:
    """Provide each version (the machine's best without any) and say which it is."""
    try:
        wanted: list[str | None] = [*versions] or [None]
        for version in wanted:
            print(provide(version, report=_tell))
    except NodeError as error:
        _tell(str(error))
        return 1
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

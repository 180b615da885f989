"""``python -m rabbitjobs`` and the console script."""

from __future__ import annotations

import sys

from rabbitjobs.errors import RabbitJobsError


def main() -> None:
    """Run the command line; errors of ours are one clear text and exit code 1, never a traceback."""
    from rabbitjobs.cli.root import cli

    try:
        cli(prog_name="rabbitjobs")
    except RabbitJobsError as error:
        from rabbitjobs.monitor.logs import escape

        sys.stderr.write(f"rabbitjobs: {escape(str(error), keep=chr(10))}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()

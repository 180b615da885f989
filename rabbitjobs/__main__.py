"""``python -m rabbitjobs`` and the console script."""

from __future__ import annotations

import sys

from rabbitjobs.errors import ConfigError, RabbitJobsError, TopologyError


def main() -> None:
    """Run the command line; our errors are one clear text and exit code 1, never a traceback."""
    from rabbitjobs.cli.root import cli

    try:
        cli(prog_name="rabbitjobs")
    except RabbitJobsError as error:
        from rabbitjobs.monitor.logs import escape
        from rabbitjobs.secret import mask

        # These two list every fault on a line of its own.
        keep = "\n" if isinstance(error, ConfigError | TopologyError) else ""
        sys.stderr.write(f"rabbitjobs: {escape(mask(str(error)), keep=keep)}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()

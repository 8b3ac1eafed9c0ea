"""The command line: the only place that prints and sets exit codes."""

import sys

from jointmix.cli.interrupts import INTERRUPTED


def main() -> None:
    """Run the command line; Ctrl-C while it is loaded ends it as Ctrl-C does later."""
    try:
        from jointmix.cli import commands
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        raise SystemExit(INTERRUPTED) from None
    commands.main()

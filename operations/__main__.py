"""The command `cygnet`."""

import argparse
import sys

from components.errors import CygnetError
from operations import accounts, clean, down, schema, up

COMMANDS = (up, down, accounts, clean, schema)
"""Each module has NAME, HELP, `arguments(parser)` and `run(options)`."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status. An error of ours is printed without a traceback."""
    parser = argparse.ArgumentParser(prog="cygnet", description="What an operator does besides 'pulumi up'.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        command.arguments(subparser)
        subparser.set_defaults(run=command.run)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except CygnetError as error:
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on where this one ended", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

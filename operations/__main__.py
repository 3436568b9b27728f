"""The command `cygnet`."""

import argparse
import sys

from components.errors import CygnetError
from engine import command_line
from operations import accounts, audit, clean, down, leftovers, link, realm, renew, rotate, schema, sheets, up

ON_A_STACK = (up, down, renew, rotate, accounts, audit, realm, sheets, link, leftovers, clean)
"""Commands whose first argument is the stack."""

COMMANDS = (*ON_A_STACK, schema)
"""Each module has NAME, HELP and `run(options)`; with arguments of its own, `arguments(parser)`."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = parser().parse_args(arguments)
    stopped = "the same command goes on where this one ended"
    return command_line.run(lambda _: options.run(options), CygnetError, stopped)


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="cygnet", description="What an operator does besides 'pulumi up'.")
    subparsers = top.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        subparser = subparsers.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        subparser.set_defaults(run=command.run)
        if command in ON_A_STACK:
            subparser.add_argument("stack", help="name of the stack, for example local")
        if own := getattr(command, "arguments", None):
            own(subparser)
    return top


if __name__ == "__main__":
    sys.exit(main())

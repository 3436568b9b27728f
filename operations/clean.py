"""`cygnet clean`: removes what is left of local machines, by their names."""

import argparse

from components.sources.leftovers import remove_leftovers

NAME = "clean"
HELP = "remove what a lost or killed stack left on this computer: machines, mounts, bridges, routes"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("stack", help="name of the stack whose remains are removed")


def run(options: argparse.Namespace) -> None:
    """Removes the stack's remains, and says what they were."""
    remove(options.stack)


def remove(stack: str) -> None:
    """Removes all that is on this computer under the stack's name."""
    remove_leftovers(stack, print)

"""`cygnet down`: removes a stack, and every trace of its local machines."""

import argparse

from operations import clean
from operations.stack import Stack
from operations.up import free

NAME = "down"
HELP = "remove a stack with all its data, homes included"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("stack", help="name of the stack, for example local")


def run(options: argparse.Namespace) -> None:
    """Destroys the stack if the backend knows it, and cleans up what a lost state left behind."""
    stack = Stack(options.stack)
    if stack.exists():
        free(stack)
        stack.pulumi("destroy", "--yes", "--skip-preview", "--color", "auto")
        stack.pulumi("stack", "rm", "--yes", "--force", "--preserve-config")
        _forget_salt(stack)
    clean.remove(stack.name)
    print(f"Stack {stack.name} is gone.")


def _forget_salt(stack: Stack) -> None:
    """Takes the salt that Pulumi wrote into the stack's file: it belonged to the state that is gone."""
    if stack.file.exists():
        lines = stack.file.read_text().splitlines(keepends=True)
        stack.file.write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))

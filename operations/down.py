"""`cygnet down`: removes a stack, and every trace of its local machines."""

import argparse

from operations import clean, takeover
from operations.stack import Stack

NAME = "down"
HELP = "remove a stack with all its data, homes included"


def run(options: argparse.Namespace) -> None:
    """Destroys the stack if the backend knows it, and cleans up what a lost state left behind."""
    stack = Stack(options.stack)
    takeover.take_over(stack)
    if stack.exists():
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

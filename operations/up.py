"""`cygnet up`: brings a stack up, and says where it is and how to sign in."""

import argparse

from operations import takeover
from operations.stack import Stack

NAME = "up"
HELP = "bring a stack up and say where it is (goes on after a killed 'pulumi up')"


def run(options: argparse.Namespace) -> None:
    """Makes the stack if need be, takes it over from a dead owner, and updates it."""
    stack = Stack(options.stack)
    stack.require_file()
    if not stack.exists():
        stack.pulumi("stack", "init")
    takeover.take_over(stack)
    stack.pulumi("up", "--yes", "--skip-preview", "--color", "auto")
    print(welcome(stack.name, stack.outputs()))


def welcome(name: str, outputs: dict[str, object]) -> str:
    """What the operator reads at the end."""
    accounts = outputs["accounts"]
    names = ", ".join(list(accounts)[:5]) if isinstance(accounts, dict) else ""
    return (
        f"\nYour service is at {outputs['url']}\n"
        f"Sign in as one of: {names}\n"
        f"Passwords:         .venv/bin/cygnet accounts {name}\n"
        f"Remove it all:     make down STACK={name}"
    )

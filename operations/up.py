"""`cygnet up`: brings a stack up, and says where it is and how to sign in."""

import argparse
import datetime as dt

from components import lifetime
from components.errors import CygnetError
from operations import due, recovery, takeover
from operations.stack import Stack

NAME = "up"
HELP = "bring a stack up and say where it is (goes on after a killed 'pulumi up')"


def run(options: argparse.Namespace) -> None:
    """Brings the stack up, and tells where it is."""
    stack = Stack(options.stack)
    stack.require_file()
    bring_up(stack)
    print(welcome(stack.name, stack.outputs(), due.day_of(stack)))


def bring_up(stack: Stack) -> None:
    """Makes the stack if need be, takes it over from a dead owner, and updates it.

    Raises:
        CygnetError: Pulumi failed, or the cloud has what Pulumi would make a second time.
    """
    stack.ensure()
    takeover.take_over(stack)
    told = recovery.recover(stack)
    try:
        stack.pulumi("up", "--yes", "--skip-preview", "--color", "auto", *told)
    except CygnetError as error:
        raise CygnetError(
            f"{error}. What was made is kept: mend what is named there, then run the same command again; after 429, "
            f"503 or 'temporary' there is nothing to mend{recovery.faults(stack)}"
        ) from error


def welcome(name: str, outputs: dict[str, object], gone_by: dt.date | None) -> str:
    """What the operator reads at the end."""
    accounts = outputs["accounts"]
    names = ", ".join(list(accounts)[:5]) if isinstance(accounts, dict) else ""
    known = f"Sign in as one of: {names}\nPasswords:         .venv/bin/cygnet accounts {name}\n" if names else ""
    told = f"\nYour service is at {outputs['url']}\n{known}Remove it all:     make down STACK={name}"
    return told + (f"\nHas to be gone by: {lifetime.told(gone_by, lifetime.today())}" if gone_by else "")

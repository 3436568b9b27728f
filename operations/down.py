"""`cygnet down`: removes a stack and every trace of its machines; in a cloud, what it protects stays, and is told."""

import argparse

from components import lifetime
from operations import clean, due, proof, recovery, takeover
from operations.cloud_state import State, cloud_of, config_of
from operations.stack import Stack

NAME = "down"
HELP = "remove a stack with all its data, homes included; in a cloud, volumes that it protects stay"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what becomes of what is protected."""
    parser.add_argument("--all", action="store_true", help="remove what the stack protects, too, with its data")
    parser.add_argument(
        "--if-due",
        action="store_true",
        help="only if the day has come on which it has to be gone (cygnet:machines.gone_by); for cron",
    )


def run(options: argparse.Namespace) -> None:
    """Destroys the stack if the backend knows it, and cleans up what a lost state left behind."""
    stack = Stack(options.stack)
    if options.if_due and not _is_due(stack):
        return
    take_down(stack, everything=options.all)


def _is_due(stack: Stack) -> bool:
    """Whether the stack is there, and its day has come; says why not.

    Raises:
        CygnetError: No file declares the stack, or what it says is no day.
    """
    stack.require_file()
    gone_by = due.day_of(stack)
    if gone_by is None:
        print(f"Stack {stack.name} may stay: it has no cygnet:machines.gone_by.")
    elif lifetime.days_left(gone_by, lifetime.today()) > 0:
        print(f"Stack {stack.name} has to be gone by {lifetime.told(gone_by, lifetime.today())}.")
    elif not stack.exists():
        print(f"Stack {stack.name} is gone.")
    else:
        return True
    return False


def take_down(stack: Stack, *, everything: bool) -> None:
    """Does it, with or without what the stack protects.

    Raises:
        CygnetError: Pulumi failed, or the cloud cannot be asked, or has more of the stack than was to be kept.
    """
    takeover.take_over(stack)
    config, cloud = config_of(stack), cloud_of(stack)
    kept: list[str] = []
    if stack.exists():
        if cloud:
            recovery.undo_what_was_interrupted(stack, cloud)
            kept = _protected(stack, everything=everything)
        stack.pulumi(
            "destroy", "--yes", "--skip-preview", "--color", "auto", *(["--exclude-protected"] if kept else [])
        )
        if not kept:
            stack.pulumi("stack", "rm", "--yes", "--force", "--preserve-config")
            _forget_salt(stack)
    clean.remove(stack.name)
    if config and cloud:
        print(proof.ask(cloud, stack.name, kept, config.prices))
    print(f"Stack {stack.name} is gone{', all but what is kept' if kept else ''}.")


def _protected(stack: Stack, *, everything: bool) -> list[str]:
    """The ids of what the stack protects in its cloud; if everything has to go, nothing is protected any more."""
    protected = [one["id"] for one in State.of(stack).in_cloud if one.get("protect")]
    if everything and protected:
        stack.pulumi("state", "unprotect", "--all", "--yes")
        return []
    return protected


def _forget_salt(stack: Stack) -> None:
    """Takes the salt that Pulumi wrote into the stack's file: it belonged to the state that is gone."""
    if stack.file.exists():
        lines = stack.file.read_text().splitlines(keepends=True)
        stack.file.write_text("".join(line for line in lines if not line.startswith("encryptionsalt:")))

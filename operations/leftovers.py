"""`cygnet leftovers`: what the cloud has of a stack and its state does not know; adopted or removed on request."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from components.clouds import cloud_removal, cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource
from components.errors import CygnetError
from engine import command_line
from operations import adoption, takeover
from operations.cloud_state import State, cloud_of
from operations.stack import Stack

NAME = "leftovers"
HELP = "list what the cloud has under a stack's name and its state does not know; adopt or remove it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what is done with what was found."""
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--adopt", action="store_true", help="write into the state what the stack declares")
    does.add_argument("--remove", action="store_true", help="remove it all for good, after a question")
    parser.add_argument("--yes", action="store_true", help="remove without a question")


def run(options: argparse.Namespace) -> None:
    """Lists, adopts or removes."""
    stack = Stack(options.stack)
    stack.require_file()
    handle(stack, adopt=options.adopt, remove=options.remove, yes=options.yes)


def handle(stack: Stack, *, adopt: bool = False, remove: bool = False, yes: bool = False) -> None:
    """Lists what there is, and does with it what is asked for.

    Raises:
        CygnetError: The stack has no cloud, the cloud cannot be asked, or refuses.
    """
    cloud = cloud_of(stack)
    if cloud is None:
        raise CygnetError(
            f"the machines of stack {stack.name} are not in a cloud (cygnet:machines.source in stacks/{stack.file.name}"
            f"); what local machines left is removed by `cygnet clean {stack.name}`"
        )
    takeover.take_over(stack)
    state = State.of(stack)
    found = cloud_resources.resources(cloud, stack.name)
    unknown = state.unknown(found)
    if missing := state.missing(found):
        print(f"Only in the state: {', '.join(missing)}\n`pulumi refresh --stack {stack.name}` takes it out.\n")
    if not unknown:
        print(f"The cloud has nothing under the name of stack {stack.name} that its state does not know.")
        return
    print(table(unknown, datetime.now(UTC)))
    if adopt:
        _adopt(stack, unknown)
    elif remove:
        if yes or _confirmed(len(unknown)):
            cloud_removal.remove(cloud, unknown, print)
    else:
        print(f"\nNothing was changed. `cygnet leftovers {stack.name} --adopt` or `--remove` does something about it.")


def table(found: Sequence[CloudResource], now: datetime) -> str:
    """A line for each.

    >>> one = CloudResource("volume", "9d2f", "cygnet-a-homes", "", created=datetime(2026, 1, 1, tzinfo=UTC))
    >>> print(table([one], datetime(2026, 1, 3, tzinfo=UTC)))
    SERVICE        KIND    NAME            ID    AGE
    block storage  volume  cygnet-a-homes  9d2f  2 days
    """
    head = ("SERVICE", "KIND", "NAME", "ID", "AGE")
    rows = [(KINDS[one.kind].service, one.kind, one.name, one.id, _age(one, now)) for one in found]
    return command_line.table([head, *rows])


def _age(one: CloudResource, now: datetime) -> str:
    if one.created is None:
        return "unknown"
    minutes = int((now - one.created).total_seconds()) // 60
    for unit, size in (("days", 24 * 60), ("hours", 60)):
        if minutes >= 2 * size:
            return f"{minutes // size} {unit}"
    return f"{minutes} minutes"


def _adopt(stack: Stack, unknown: Sequence[CloudResource]) -> None:
    stack.ensure()
    refused = adoption.adopt(stack, unknown)
    known = State.of(stack)
    for one in known.unknown(unknown):
        why = KINDS[one.kind].not_adopted if one in refused else "the stack does not declare it"
        print(f"{one} ({one.id}): not adopted, {why}")


def _confirmed(count: int) -> bool:
    if not sys.stdin.isatty():
        raise CygnetError("nobody is there to be asked, nothing was removed; `--yes` removes without a question")
    return input(f"\nRemove these {count} for good, with all that is on them? [y/N] ").strip().lower() in ("y", "yes")

"""`cygnet rotate`: makes the secrets anew that a stack made, all or some of them, while sessions go on."""

import argparse
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from components import rotation
from components.errors import CygnetError
from components.rotation import SECRETS
from operations import takeover, up
from operations.stack import Stack, environment

NAME = "rotate"
HELP = "make a stack's secrets anew, all or some of them, while sessions go on"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which ones."""
    asked_for = ", ".join(name for name, one in SECRETS.items() if one.by_name_only)
    names = f"which: {', '.join(SECRETS)}; none: all that the stack has but those to ask for by name: {asked_for}"
    parser.add_argument("what", nargs="*", metavar="WHAT", help=names)
    parser.add_argument("--dry-run", action="store_true", help="show what would be made anew, and who notices what")


def run(options: argparse.Namespace) -> None:
    """Makes them anew and brings them wherever they are needed, then lets the former ones go."""
    stack = Stack(options.stack)
    stack.require_file()
    check(options.what)
    chosen = choose(options.what, there(exported(stack)))
    print(told(chosen), flush=True)
    with environment(rotation.VARIABLE, " ".join([secrets.token_hex(4), *chosen])):
        if options.dry_run:
            stack.pulumi("preview", "--color", "auto")
            return
        takeover.take_over(stack)
        up.bring_up(stack)
    if former(exported(stack)):
        print("All have the new ones; the former ones go.", flush=True)
        with environment(rotation.FORGET, "1"):
            up.bring_up(stack)
    print(f"Made anew: {', '.join(chosen)}")


def check(named: Sequence[str]) -> None:
    """Returns when all names are known.

    Raises:
        CygnetError: One is not, or is of what is not made anew.
    """
    for name in named:
        if reason := rotation.LASTING.get(name):
            raise CygnetError(f"{name} is not made anew while it is in use: {reason}")
        if name not in SECRETS:
            near = get_close_matches(name, SECRETS, 1)
            raise CygnetError(
                f"there are no secrets of the name {name}{f'; did you mean {near[0]}?' if near else ''}; there are "
                f"{', '.join(SECRETS)}"
            )


def choose(named: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names of what is made anew: those that are asked for, or all that are not to be asked for by name.

    Raises:
        CygnetError: The stack has none of one that is asked for.
    """
    for name in named:
        if name not in known:
            raise CygnetError(f"the stack made no secrets of the name {name}; it made: {', '.join(known)}")
    return [name for name in known if (name in named if named else not SECRETS[name].by_name_only)]


def there(state: Mapping[str, Any]) -> list[str]:
    """The names of the secrets in a state, in the order of the list.

    Raises:
        CygnetError: There are none: the stack is not up.
    """
    found = {str(one["inputs"].get("rotates")) for one in _resources(state)}
    if not found & SECRETS.keys():
        raise CygnetError("the stack has no secrets that could be made anew; bring it up first: cygnet up STACK")
    return [name for name in SECRETS if name in found]


def former(state: Mapping[str, Any]) -> bool:
    """Whether secrets in a state are kept that were before others."""
    # They are encrypted, however many; but what was made anew has the mark of it until they go.
    return any(one["inputs"].get("keeps_former") and one["outputs"].get("rotation") for one in _resources(state))


def told(chosen: Sequence[str]) -> str:
    """What the operator reads before."""
    lines = [f"  {name}: {SECRETS[name].what}.\n      {_sentence(SECRETS[name].noticed)}" for name in chosen]
    return "\n".join(["What is made anew, and who notices what:", *lines])


def _sentence(words: str) -> str:
    return f"Noticed: {words}."


def exported(stack: Stack) -> dict[str, Any]:
    """The stack's state, with what is secret in it encrypted."""
    found: dict[str, Any] = json.loads(stack.pulumi("stack", "export", capture=True))
    return found


def _resources(state: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for one in state["deployment"].get("resources", []):
        if not one.get("delete") and "rotates" in one.get("inputs", {}):
            yield {"outputs": {}, **one}

"""`cygnet accounts`: who may sign in, with their passwords."""

import argparse

from components.errors import CygnetError
from operations.stack import Stack

NAME = "accounts"
HELP = "show the accounts of a stack with their passwords"


def run(options: argparse.Namespace) -> None:
    """Prints a line per account: name, password, and whether it is an administrator's."""
    outputs = Stack(options.stack).outputs()
    if not outputs["accounts"]:
        kind = outputs["parts"]["auth"]["kind"]
        raise CygnetError(
            f"stack {options.stack} makes no accounts: with sign-in of kind {kind} its users are known there"
        )
    admins = outputs["parts"]["auth"]["admins"]
    width = max(len(name) for name in outputs["accounts"])
    print(f"{outputs['url']}")
    for name, password in outputs["accounts"].items():
        print(f"{name:{width}}  {password}{'  (administrator)' if name in admins else ''}")

"""`cygnet clean`: removes what is left of local machines, by their names, and the bases that no machine stands on."""

import argparse

from components.local_machines import base_image, records
from components.local_machines.leftovers import remove_leftovers

NAME = "clean"
HELP = "remove what a lost or killed stack left on this computer: machines, mounts, bridges, routes, unused bases"


def run(options: argparse.Namespace) -> None:
    """Removes the stack's remains and all unused bases, and says what they were."""
    remove(options.stack)
    for key in base_image.remove_unused(records.bases_in_use()):
        print(f"base {key} of the machines: removed, none stands on it")


def remove(stack: str) -> None:
    """Removes all that is on this computer under the stack's name."""
    remove_leftovers(stack, print)

"""`cygnet renew`: makes servers anew that are not what their stack says, one at a time, each drained first."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from components.errors import CygnetError
from components.sources.openstack_servers import RENEW
from operations import recovery, takeover
from operations.cloud_state import cloud_of
from operations.stack import Stack

NAME = "renew"
HELP = "make workers of a cloud anew that have another image, flavor or volume than the stack says, one at a time"

_SERVER = "openstack:compute/instance:Instance"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which ones."""
    parser.add_argument("machines", nargs="*", help="names, such as worker-1; none: all workers that differ")


def run(options: argparse.Namespace) -> None:
    """Replaces one server after the other; each is in the cluster before the next is drained."""
    stack = Stack(options.stack)
    stack.require_file()
    takeover.take_over(stack)
    if cloud := cloud_of(stack):
        recovery.undo_what_was_interrupted(stack, cloud)
    servers = urns(json.loads(stack.pulumi("stack", "export", capture=True)))
    check(options.machines, servers)
    os.environ[RENEW] = " ".join(filter(_can_go, servers))
    chosen = options.machines or outdated(json.loads(stack.pulumi("preview", "--json", capture=True)))
    for number, machine in enumerate(chosen, 1):
        print(f"{machine}: {number} of {len(chosen)}", flush=True)
        os.environ[RENEW] = machine
        stack.pulumi("up", "--yes", "--skip-preview", "--color", "auto", "--replace", servers[machine])
    print(f"Made anew: {', '.join(chosen)}" if chosen else "Every worker is what the stack says.")


def urns(exported: Mapping[str, Any]) -> dict[str, str]:
    """The servers in a state: Pulumi's URN of each, by name."""
    listed = exported["deployment"].get("resources", [])
    return {_name(one["urn"]): one["urn"] for one in listed if one["type"] == _SERVER and not one.get("delete")}


def outdated(preview: Mapping[str, Any]) -> list[str]:
    """The servers that a preview would replace, by name."""
    replaced = [step["urn"] for step in preview["steps"] if step["op"] == "replace"]
    return [_name(urn) for urn in replaced if f"{_SERVER}::" in urn]


def check(named: Sequence[str], servers: Mapping[str, str]) -> None:
    """Returns when all that are named can be made anew.

    Raises:
        CygnetError: One is not there, or is a control plane.
    """
    for name in named:
        if name not in servers:
            raise CygnetError(f"there is no server {name}; there are {', '.join(servers)}")
        if not _can_go(name):
            raise CygnetError(
                f"{name} has the cluster's own data, and is not made anew under a running cluster; bring up a new "
                "stack beside this one"
            )


def _can_go(machine: str) -> bool:
    return not machine.startswith("control-plane-")


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]

"""`cygnet renew`: makes servers anew that are not what their stack says, one at a time, each drained first."""

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from components.clouds.openstack_servers import RENEW
from components.errors import CygnetError
from components.kubectl import kubectl
from operations import recovery, takeover
from operations.cloud_state import cloud_of
from operations.stack import Stack, environment

NAME = "renew"
HELP = "make servers of a cloud anew that have another image, flavor or volume than the stack says, one at a time"

_SERVER = "openstack:compute/instance:Instance"
_CONTROL_PLANE = "control-plane-"
_FIRST = f"{_CONTROL_PLANE}1"
_ETCD_SECONDS = 120


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which ones."""
    parser.add_argument("machines", nargs="*", help=f"names, such as worker-1; none: all that differ, but {_FIRST}")


def run(options: argparse.Namespace) -> None:
    """Replaces one server after the other; each is in the cluster before the next is drained."""
    stack = Stack(options.stack)
    stack.require_file()
    takeover.take_over(stack)
    if cloud := cloud_of(stack):
        recovery.undo_what_was_interrupted(stack, cloud)
    servers = urns(json.loads(stack.pulumi("stack", "export", capture=True)))
    check(options.machines, servers)
    with environment(RENEW, " ".join(filter(_can_go, servers))):
        chosen = options.machines or outdated(json.loads(stack.pulumi("preview", "--json", capture=True)))
    for number, machine in enumerate(chosen, 1):
        print(f"{machine}: {number} of {len(chosen)}", flush=True)
        if machine.startswith(_CONTROL_PLANE):
            require_etcd(str(stack.outputs()["kubeconfig"]), machine)
        with environment(RENEW, machine):
            stack.pulumi("up", "--yes", "--skip-preview", "--color", "auto", "--replace", servers[machine])
    print(f"Made anew: {', '.join(chosen)}" if chosen else f"Every server but {_FIRST} is what the stack says.")


def require_etcd(kubeconfig: str, machine: str) -> None:
    """Returns when all members of etcd work: while one is made anew, none of the others may be missing.

    Raises:
        CygnetError: One does not work.
    """
    try:
        kubectl(
            kubeconfig, "wait", "pod", "--namespace=kube-system", "--selector=component=etcd", "--for=condition=Ready",
            f"--timeout={_ETCD_SECONDS}s", seconds=_ETCD_SECONDS + 30,
        )  # fmt: skip
    except CygnetError as error:
        raise CygnetError(
            f"{machine} is not made anew: a member of etcd does not work, and without another one the cluster would "
            f"stand still ({error}). Mend that first: cygnet up"
        ) from error


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
        CygnetError: One is not there, or is the first control plane.
    """
    for name in named:
        if name not in servers:
            raise CygnetError(f"there is no server {name}; name one of these: {', '.join(servers)}")
        if not _can_go(name):
            raise CygnetError(
                f"{name} has what there is one of (homes, registry, software repository), and is not made anew under "
                "a service that runs; bring up a new stack beside this one"
            )


def _can_go(machine: str) -> bool:
    return machine != _FIRST


def _name(urn: str) -> str:
    return urn.rpartition("::")[2]

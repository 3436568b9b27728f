"""What every source of machines gives, wherever its machines come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final, Literal

import pulumi

API_PORT: Final = 6443
"""Of Kubernetes, on control planes."""

WantedAddress = IPv4Address | Literal["own"] | None
"""The virtual address that a stack wants: this one, one that the source of its machines takes, or none."""

Host = dict[str, Any]
"""One machine, as Ansible and smoke tests reach it by SSH:

    name        "worker-1"
    group       "control_plane" or "worker"
    address     IPv4 address or host name
    user, port  of SSH
    host_key    public key of its SSH server, "ssh-ed25519 AAAA..."
    variables   what roles have to know of this one machine, by name

Only where machines are behind a router:

    public_address  IPv4 address under which the outside reaches it
    via             the host through which SSH goes: address, user, port and host_key
"""


def public_address(host: Host) -> str:
    """Where the outside reaches a machine."""
    return str(host.get("public_address") or host["address"])


@dataclass(frozen=True)
class Opening:
    """What is reached of the machines: TCP ports, and the networks from where; none: from everywhere."""

    ports: tuple[int | tuple[int, int], ...]
    """Each a port, or the first and the last of several."""
    networks: tuple[IPv4Network, ...]
    everywhere: bool = False
    """Whether of each machine, and not only of where users come in."""


@dataclass(frozen=True)
class VirtualAddress:
    """An IPv4 address that one of the control planes has at a time: where Kubernetes' API and the gateway are."""

    inner: pulumi.Output[str]
    """As machines reach it."""
    public: pulumi.Output[str]
    """As the outside does."""


@dataclass(frozen=True)
class Provided:
    """The machines of a stack."""

    hosts: pulumi.Output[list[Host]]
    """All of them, the control plane first, each answering SSH."""

    machines: Mapping[str, pulumi.CustomResource]
    """What stands for each in the state, by the machine's name."""

    anchor: pulumi.Resource | None
    """With what the cluster is gone from the world: the first control plane, or, of several, what all of them stand on;
    None when machines outlive the stack."""

    networks: pulumi.Output[list[str]]
    """IPv4 networks that have their addresses, e.g. ["10.240.1.0/24"]."""

    virtual: VirtualAddress | None = None
    """If they were asked for one."""

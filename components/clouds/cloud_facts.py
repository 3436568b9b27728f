"""What has to be known of a cloud before a stack is made or changed in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Final

_TAKES: Final = "resources:"  # in a flavor's properties
_ALIAS: Final = "pci_passthrough:alias"
_COMMON: Final = ("VCPU", "MEMORY_MB", "DISK_GB")


@dataclass(frozen=True)
class Flavor:
    """The size of a server."""

    cores: int
    memory_mib: int
    disk_gib: int
    devices: Mapping[str, int]
    """What a server takes besides, by Placement's resource class or Nova's alias, e.g. {"VGPU": 1}."""


@dataclass(frozen=True)
class Image:
    """What servers of an image need at least."""

    disk_gib: int
    memory_mib: int


@dataclass(frozen=True)
class Network:
    """A network that the account sees."""

    name: str
    takes_servers: bool
    """It has a subnet, and is not only for the outer side of routers."""
    external: bool
    """Routers may lead there."""
    subnets: tuple[IPv4Network, ...] = ()
    """Its addresses."""


@dataclass(frozen=True)
class Server:
    """A server that the stack has already."""

    status: str
    fault: str
    cores: int
    memory_mib: int


@dataclass(frozen=True)
class Quota:
    """How much of something a project may have (-1: any number), and has."""

    limit: int
    used: int


@dataclass(frozen=True)
class Facts:
    """What was found in a cloud. What is the stack's own is there by its name in the cloud."""

    user: str
    project: str
    roles: frozenset[str]
    clock_seconds: float
    """By how much the cloud's clock is ahead of this computer's."""
    flavors: Mapping[str, Flavor]
    images: Mapping[str, Image]
    """Of several of one name the newest, as Pulumi's provider takes it."""
    networks: Sequence[Network]
    zones: Sequence[str]
    volume_types: Sequence[str]
    servers: Mapping[str, Server]
    """The stack's own."""
    volumes: Mapping[str, int]
    """The stack's own, with their size in GiB."""
    rules: Mapping[str, int]
    """The stack's own security groups, with how many rules each has."""
    there: Mapping[str, frozenset[str]]
    """Names of what else the stack may have, by the option of `openstack quota set` that counts them."""
    quotas: Mapping[str, Quota]
    """By the option of `openstack quota set`."""
    group_members: int
    """How many members a server group may have (-1: any number)."""
    taken: Mapping[IPv4Address, str]
    """Addresses that were asked for and are in use, with the name or ID of the port, as far as the account sees it."""
    free: Mapping[str, int | None]
    """How many of each device are left; None, or no entry: the cloud does not say."""


def devices(properties: Mapping[str, str]) -> dict[str, int]:
    """What a flavor with these properties takes besides cores, memory and disk.

    >>> devices({"resources:VGPU": "1", "trait:CUSTOM_FAST": "required", "pci_passthrough:alias": "t4:2"})
    {'VGPU': 1, 't4': 2}
    """
    classes = {key.removeprefix(_TAKES): int(number) for key, number in properties.items() if key.startswith(_TAKES)}
    aliases = [one.strip().partition(":") for one in properties.get(_ALIAS, "").split(",") if one.strip()]
    return {
        **{name: number for name, number in classes.items() if name not in _COMMON},
        **{name: int(number or 1) for name, _colon, number in aliases},
    }

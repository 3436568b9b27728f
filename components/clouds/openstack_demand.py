"""How much a change adds to what a project has in an OpenStack cloud. It asks nobody: what there is, is given."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from components.clouds.cloud_facts import Facts, Flavor, devices
from components.clouds.openstack_network import ENTRY
from components.clouds.openstack_servers import ServerConfig
from components.sources.openstack import OpenStackConfig
from components.sources.source import WantedAddress

_RULES_OF_A_NEW_GROUP: Final = 2  # Neutron's own: all that goes out, by IPv4 and by IPv6


@dataclass(frozen=True)
class Wanted:
    """What a stack shall have."""

    stack: str
    config: OpenStackConfig
    servers: Sequence[ServerConfig]
    rules: Mapping[str, int]
    """How many rules each security group shall have, by its name in the cloud."""
    virtual: WantedAddress = None
    """The address that its control planes share."""

    @property
    def own(self) -> str:
        """How all that it has in the cloud is called, or begins."""
        return f"cygnet-{self.stack}"

    @property
    def has_volumes(self) -> bool:
        """Whether the cloud has to have volumes."""
        return bool(self.config.volumes) or any(server.volume_gib for server in self.servers)

    def flavors(self, facts: Facts) -> Mapping[str, Flavor]:
        """Flavors by the name that groups call them: those that are there, and those that the stack makes."""
        made = {
            name: Flavor(flavor.cores, int(flavor.memory_gib * 1024), flavor.disk_gib, devices(flavor.extra_specs))
            for name, flavor in self.config.flavors.items()
        }
        return {**facts.flavors, **made}

    def new_servers(self, facts: Facts) -> list[ServerConfig]:
        """Those that are not there yet."""
        return [server for server in self.servers if f"{self.own}-{server.name}" not in facts.servers]


def added(wanted: Wanted, facts: Facts) -> Counter[str]:
    """How much this change adds, by the option of `openstack quota set` that limits it.

    What this change removes frees nothing: it goes when what is new is there.
    """
    named = {option: len(names - facts.there[option]) for option, names in _names(wanted).items()}
    new_servers = wanted.new_servers(facts)
    booted = [server.volume_gib for server in new_servers if server.volume_gib]
    sizes = {f"{wanted.own}-{name}": volume.size_gib for name, volume in wanted.config.volumes.items()}
    more = Counter(named)
    more.update(
        {
            "instances": len(new_servers),
            # Those without a name: Nova makes one for each other server, and a router has one, too.
            "ports": named["networks"]
            + sum(f"{wanted.own}-{server.name}" not in _names(wanted)["ports"] for server in new_servers),
            "subnets": named["networks"],
            "secgroups": len(wanted.rules.keys() - facts.rules.keys()),
            "secgroup-rules": sum(
                max(0, rules + _RULES_OF_A_NEW_GROUP - facts.rules.get(group, 0))
                for group, rules in wanted.rules.items()
            ),
            "volumes": len(booted) + len(sizes.keys() - facts.volumes.keys()),
            "gigabytes": sum(booted) + sum(max(0, gib - facts.volumes.get(name, 0)) for name, gib in sizes.items()),
        }
    )
    flavors = wanted.flavors(facts)
    for server in wanted.servers:
        there = facts.servers.get(f"{wanted.own}-{server.name}")
        if flavor := flavors.get(server.flavor):
            more["cores"] += max(0, flavor.cores - (there.cores if there else 0))
            more["ram"] += max(0, flavor.memory_mib - (there.memory_mib if there else 0))
    return more


def devices_added(wanted: Wanted, facts: Facts) -> dict[str, tuple[int, list[str]]]:
    """What new servers take besides cores, memory and disk: how many of each, and the flavors that bring them."""
    flavors = wanted.flavors(facts)
    count: Counter[str] = Counter()
    brought: dict[str, set[str]] = {}
    for server in wanted.new_servers(facts):
        if flavor := flavors.get(server.flavor):
            for name, number in flavor.devices.items():
                count[name] += number
                brought.setdefault(name, set()).add(server.flavor)
    return {name: (number, sorted(brought[name])) for name, number in count.items()}


def _names(wanted: Wanted) -> dict[str, frozenset[str]]:
    """What the stack shall have by name, by the option of `openstack quota set` that counts it."""
    own, behind_router = frozenset({wanted.own}), wanted.config.own_network is not None
    first = wanted.servers[0].name
    entry = [ENTRY] if wanted.virtual else []
    plugged = [one.name for one in wanted.servers if behind_router or (entry and one.role == "control_plane")]
    return {
        "key-pairs": own,
        "server-groups": frozenset(f"{wanted.own}-{server.group.replace('_', '-')}" for server in wanted.servers),
        "networks": own if behind_router else frozenset(),
        "routers": own if behind_router else frozenset(),
        "ports": frozenset(f"{wanted.own}-{name}" for name in (*plugged, *entry)),
        "floating-ips": frozenset(f"{wanted.own}-{name}" for name in (first, *entry) if behind_router),
    }

"""Where servers of an OpenStack project are plugged in, and what is let in there.

Either on a network that is there already, with addresses that this computer and users reach; or on one of the stack's
own behind a router. Of such a network the first control plane has a floating IP: SSH to all others goes through it.
Users reach the service there, or, where control planes share an address, by the floating IP of that.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Final

import pulumi
import pulumi_openstack as provider
from pydantic import Field, field_validator

from components.base import PartConfig
from components.sources import ssh
from components.sources.source import API_PORT, Opening, VirtualAddress, WantedAddress

_REGISTRY_PORT: Final = 5000  # images are brought there
_EVERYWHERE: Final = IPv4Network("0.0.0.0/0")
_LEAST_ADDRESSES: Final = 8

ENTRY: Final = "entry"
"""What the port of the address is called that control planes share."""


class OwnNetworkConfig(PartConfig):
    """A network of the stack's own, behind a router."""

    external: Annotated[str, Field(description="Network to which the router leads, by name; floating IPs come from it")]
    subnet: Annotated[
        IPv4Network, Field(description="Addresses of the servers; no other network that they reach has them")
    ]
    dns_servers: Annotated[
        tuple[IPv4Address, ...], Field(description="What servers ask for names; none: what the cloud offers")
    ] = ()

    @field_validator("subnet")
    @classmethod
    def _has_room(cls, subnet: IPv4Network) -> IPv4Network:
        if subnet.num_addresses < _LEAST_ADDRESSES:
            raise ValueError(f"{subnet} has no room for servers; take a larger one, for example 10.20.0.0/24")
        return subnet


@dataclass(frozen=True)
class Rule:
    """One thing that a security group lets in: from a network, or, without one, from the stack's own servers."""

    name: str
    protocol: str | None = None
    port: int | None = None
    network: IPv4Network | None = None
    last: int | None = None
    """Of several ports; none: there is one."""


def rules(
    admin_networks: Sequence[IPv4Network], openings: Sequence[Opening], *, behind_router: bool
) -> dict[str, list[Rule]]:
    """The least that has to be let in, by security group; all else is refused.

    Args:
        admin_networks: From where operators come.
        openings: What is reached.
        behind_router: Whether SSH goes through the first server.

    Returns:
        The rules of "machines", of which all servers are members; of "control-plane"; and of "gateway", which is where
        users come in: the first of them, or all if they share an address.
    """
    registry, api, ssh_ = (list(_from(admin_networks, (port,))) for port in (_REGISTRY_PORT, API_PORT, ssh.PORT))
    public, everywhere = (
        [rule for one in openings if one.everywhere is of_each for rule in _from(one.networks, one.ports)]
        for of_each in (False, True)
    )
    return {
        "machines": [Rule("members"), *([] if behind_router else ssh_), *everywhere],
        "control-plane": api,
        "gateway": [*registry, *(ssh_ if behind_router else []), *public],
    }


def memberships(role: str, *, entry: bool) -> list[str]:
    """The security groups of a server.

    >>> memberships("worker", entry=False)
    ['machines']
    """
    return ["machines", *(["control-plane"] if role == "control_plane" else []), *(["gateway"] if entry else [])]


def group_name(stack: str, name: str) -> str:
    """What a security group is called in the cloud.

    >>> group_name("cygnet-prod", "machines"), group_name("cygnet-prod", "gateway")
    ('cygnet-prod', 'cygnet-prod-gateway')
    """
    return stack if name == "machines" else f"{stack}-{name}"


def security_groups(
    stack: str, wanted: dict[str, list[Rule]], opts: pulumi.ResourceOptions
) -> dict[str, provider.networking.SecGroup]:
    """Makes the security groups of a stack; "machines" has the stack's own name."""
    made = {
        name: provider.networking.SecGroup(
            name,
            name=group_name(stack, name),
            description="Machines of cygnet",
            tags=[stack],
            opts=opts,
        )
        for name in wanted
    }
    for name, listed in wanted.items():
        # A rule goes with its group; taken out one by one, each costs the provider's five seconds.
        with_group = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(deleted_with=made[name]))
        for rule in listed:
            provider.networking.SecGroupRule(
                f"{name}-{rule.name}",
                security_group_id=made[name].id,
                direction="ingress",
                ethertype="IPv4",
                protocol=rule.protocol,
                port_range_min=rule.port,
                port_range_max=rule.last or rule.port,
                remote_ip_prefix=str(rule.network) if rule.network else None,
                remote_group_id=None if rule.network else made[name].id,
                opts=with_group,
            )
    return made


class GivenNetwork:
    """A network that is there already. The cloud plugs servers in, but for those that share an address."""

    def __init__(self, name: str, stack: str, opts: pulumi.ResourceOptions) -> None:
        self._name, self._stack, self._opts = name, stack, opts
        self._asking = pulumi.InvokeOutputOptions(parent=opts.parent, provider=opts.provider)

    @cached_property
    def _id(self) -> pulumi.Output[str]:
        return provider.networking.get_network_output(name=self._name, opts=self._asking).id

    def port(
        self,
        server: str,
        groups: Sequence[provider.networking.SecGroup],
        shared: pulumi.Input[str] | None,
    ) -> provider.networking.Port:
        """The place of a server that takes the shared address, too, when it is its turn."""
        return _port(server, self._stack, self._id, self._opts, groups=groups, shared=shared)

    def virtual_address(self, wanted: WantedAddress) -> tuple[provider.networking.Port, VirtualAddress]:
        """An address for several servers, and the port that keeps it for them; no server is plugged in there."""
        fixed = None
        if wanted != "own":
            subnet = provider.networking.get_subnet_output(network_id=self._id, ip_version=4, opts=self._asking)
            fixed = provider.networking.PortFixedIpArgs(subnet_id=subnet.id, ip_address=str(wanted))
        port = _port(ENTRY, self._stack, self._id, self._opts, fixed=fixed)
        address = port.all_fixed_ips.apply(_version_4)
        return port, VirtualAddress(address, address)


class OwnNetwork:
    """A network with a subnet and a router. Nobody but its servers is on it."""

    def __init__(self, config: OwnNetworkConfig, stack: str, opts: pulumi.ResourceOptions) -> None:
        self._config, self._stack, self._opts = config, stack, opts
        outside = provider.networking.get_network_output(
            name=config.external,
            external=True,
            opts=pulumi.InvokeOutputOptions(parent=opts.parent, provider=opts.provider),
        )
        self._network = provider.networking.Network("own", name=stack, tags=[stack], opts=opts)
        self._subnet = provider.networking.Subnet(
            "own",
            name=stack,
            network_id=self._network.id,
            cidr=str(config.subnet),
            ip_version=4,
            dns_nameservers=[str(server) for server in config.dns_servers],
            tags=[stack],
            opts=opts,
        )
        router = provider.networking.Router("own", name=stack, external_network_id=outside.id, tags=[stack], opts=opts)
        self._way_out = provider.networking.RouterInterface(
            "own", router_id=router.id, subnet_id=self._subnet.id, opts=opts
        )

    def port(
        self,
        server: str,
        groups: Sequence[provider.networking.SecGroup],
        shared: pulumi.Input[str] | None,
    ) -> provider.networking.Port:
        """A server's place on the network, with an address that stays when the server is made anew.

        Args:
            server: Its name.
            groups: What lets somebody in there.
            shared: An address that it takes, too, when it is its turn.
        """
        fixed = provider.networking.PortFixedIpArgs(subnet_id=self._subnet.id)
        return _port(server, self._stack, self._network.id, self._opts, fixed=fixed, groups=groups, shared=shared)

    def virtual_address(self, wanted: WantedAddress) -> tuple[provider.networking.Port, VirtualAddress]:
        """An address for several servers with a floating IP, and the port that keeps it; no server is there."""
        fixed = provider.networking.PortFixedIpArgs(
            subnet_id=self._subnet.id, ip_address=None if wanted == "own" else str(wanted)
        )
        port = _port(ENTRY, self._stack, self._network.id, self._opts, fixed=fixed)
        public = self.floating_ip(ENTRY, port).address
        return port, VirtualAddress(port.all_fixed_ips.apply(_version_4), public)

    def floating_ip(self, name: str, port: provider.networking.Port) -> provider.networking.FloatingIp:
        """An address under which the outside reaches what is at a port."""
        return provider.networking.FloatingIp(
            name,
            pool=self._config.external,
            port_id=port.id,
            description=f"{self._stack}-{name}",
            tags=[self._stack],
            # The cloud refuses it while no router leads from the network to the outside.
            opts=pulumi.ResourceOptions.merge(self._opts, pulumi.ResourceOptions(depends_on=[self._way_out])),
        )


def _port(
    name: str,
    stack: str,
    network_id: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
    *,
    fixed: provider.networking.PortFixedIpArgs | None = None,
    groups: Sequence[provider.networking.SecGroup] = (),
    shared: pulumi.Input[str] | None = None,
) -> provider.networking.Port:
    return provider.networking.Port(
        name,
        name=f"{stack}-{name}",
        network_id=network_id,
        fixed_ips=[fixed] if fixed else None,
        security_group_ids=[group.id for group in groups] or None,
        no_security_groups=None if groups else True,
        # What comes from any other address than the port's own is dropped by the cloud.
        allowed_address_pairs=(
            [provider.networking.PortAllowedAddressPairArgs(ip_address=shared)] if shared is not None else None
        ),
        tags=[stack],
        opts=opts,
    )


def _version_4(addresses: Sequence[str]) -> str:
    """The IPv4 address of a port.

    >>> _version_4(["2001:db8::1", "192.0.2.7"])
    '192.0.2.7'
    """
    return next(address for address in addresses if ":" not in address)


def _from(networks: Sequence[IPv4Network], ports: Sequence[int | tuple[int, int]]) -> Iterator[Rule]:
    for port in ports:
        first, last = port if isinstance(port, tuple) else (port, None)
        for network in networks or (_EVERYWHERE,):
            name = f"{first}{f'-{last}' if last else ''}-{str(network).replace('/', '-')}"
            yield Rule(f"tcp-{name}", "tcp", first, network, last)

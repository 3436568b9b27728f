"""Machines made in a project of an OpenStack cloud, as resources of Pulumi: servers, and what they stand on.

Each server gets its SSH host key by cloud-init, so it is known before the first connection.
"""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Final

import pulumi
import pulumi_openstack as provider
from pydantic import Field, NonNegativeFloat, model_validator

from components.base import PartConfig
from components.clouds import openstack_network, openstack_servers
from components.clouds.answering import AnsweringServer
from components.clouds.openstack_flavors import FlavorConfig, make_flavors
from components.clouds.openstack_network import GivenNetwork, OwnNetwork, OwnNetworkConfig
from components.clouds.openstack_servers import ServerConfig
from components.clouds.openstack_volumes import DataVolume, DataVolumeConfig
from components.secrets import KeyPair
from components.sources import ssh
from components.sources.existing import exact_networks
from components.sources.source import Host, Opening, Provided, VirtualAddress, WantedAddress

_RETRIES: Final = 5  # of a request that was not answered, or was told to come back later


class OpenStackConfig(PartConfig):
    """Where in which cloud, for source openstack."""

    cloud: Annotated[
        str | None, Field(description="Its name in clouds.yaml; none: what the environment says (OS_CLOUD, or OS_*)")
    ] = None
    network: Annotated[
        str | None, Field(description="Network of the servers that is there already; this computer and users reach it")
    ] = None
    own_network: Annotated[
        OwnNetworkConfig | None, Field(description="In place of it: one of the stack's own, behind a router")
    ] = None
    image: Annotated[str, Field(description="Image of the servers, by name: Debian with cloud-init")]
    user: Annotated[str, Field(description="The image's own account, for which sudo asks no password")] = "debian"
    admin_networks: Annotated[
        tuple[IPv4Network, ...],
        Field(
            min_length=1, description="From where SSH, registry and Kubernetes' API are reached, e.g. [192.0.2.0/24]"
        ),
    ]
    flavors: Annotated[
        dict[str, FlavorConfig],
        Field(description="Flavors that the stack makes for its groups, where your account may: an administrator's"),
    ] = Field(default_factory=dict)
    volumes: Annotated[
        dict[Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")], DataVolumeConfig],
        Field(description="Volumes for data that outlives servers, by name"),
    ] = Field(default_factory=dict)
    prices: Annotated[
        dict[str, NonNegativeFloat],
        Field(description="What is paid per hour, by flavor, `volume_gib` or `floating_ip`; told of what stays"),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _servers_are_on_one_network(self) -> "OpenStackConfig":
        if (self.network is None) == (self.own_network is None):
            raise ValueError(
                "openstack needs either network, one that is there (`openstack network list` shows them), or "
                "own_network, one that the stack makes"
            )
        return self


def provide(
    config: OpenStackConfig,
    servers: Sequence[ServerConfig],
    openings: Sequence[Opening],
    operator: KeyPair,
    parent: pulumi.Resource,
    *,
    virtual: WantedAddress,
) -> Provided:
    """The machines of a stack, made in a cloud.

    Args:
        config: Which cloud, and where in it.
        servers: The control plane first.
        openings: What users reach.
        operator: The key that opens the servers.
        parent: What the resources belong to.
        virtual: The address that control planes share, if any.
    """
    return _Stack(config, operator, parent).provide(servers, openings, virtual)


class _Stack:
    """What the servers of a stack have in common."""

    def __init__(self, config: OpenStackConfig, operator: KeyPair, parent: pulumi.Resource) -> None:
        self._config, self._operator = config, operator
        self._name = f"cygnet-{pulumi.get_stack()}"
        self._inside = pulumi.ResourceOptions(parent=parent)
        cloud = provider.Provider("cloud", cloud=config.cloud, max_retries=_RETRIES, opts=self._inside)
        self._opts = pulumi.ResourceOptions(parent=parent, provider=cloud)
        # With another key it is another one under the same name; servers have read theirs.
        again = pulumi.ResourceOptions.merge(self._opts, pulumi.ResourceOptions(delete_before_replace=True))
        self._key = provider.compute.Keypair("operator", name=self._name, public_key=operator.public_key, opts=again)
        self._flavors = make_flavors(config.flavors, self._name, self._opts)
        self._own = OwnNetwork(config.own_network, self._name, self._opts) if config.own_network else None
        self._network = self._own or GivenNetwork(str(config.network), self._name, self._opts)
        self._shared: tuple[provider.networking.Port, VirtualAddress] | None = None
        """The address that control planes share, and its port."""
        self._way: pulumi.Output[dict[str, Any]] | None = None
        """The host through which SSH goes."""

    def provide(self, servers: Sequence[ServerConfig], openings: Sequence[Opening], virtual: WantedAddress) -> Provided:
        if virtual:
            self._shared = self._network.virtual_address(virtual)
        wanted = openstack_network.rules(self._config.admin_networks, openings, behind_router=self._own is not None)
        security = openstack_network.security_groups(self._name, wanted, self._opts)
        apart = {group: self._server_group(group) for group in dict.fromkeys(server.group for server in servers)}
        images = {name: self._image_id(name) for name in dict.fromkeys(map(self._image, servers))}
        made: dict[str, provider.compute.Instance] = {}
        hosts: list[pulumi.Output[Host]] = []
        for server in servers:
            entry = server.role == "control_plane" if self._shared else not made
            members = [security[name] for name in openstack_network.memberships(server.role, entry=entry)]
            host_key = KeyPair(f"{server.name}-host", rotates="host", comment=server.name, opts=self._inside)
            made[server.name] = openstack_servers.make(
                server,
                stack=self._name,
                image_id=images[self._image(server)],
                flavor_id=self._flavors.get(server.flavor),
                key=self._key,
                host_key=host_key,
                apart=apart[server.group],
                opts=self._opts,
                **self._plugged_in(server, members, host_key),
            )
            hosts.append(self._host(server, made[server.name], host_key))
        known = pulumi.Output.all(*hosts)
        port, shared = self._shared or (None, None)
        return Provided(
            hosts=known,
            machines=made,
            anchor=port or made[servers[0].name],
            networks=pulumi.Output.all(known, shared.inner if shared else None).apply(
                lambda given: self._networks([*(host["address"] for host in given[0]), *filter(None, given[1:])])
            ),
            virtual=shared,
        )

    def _image(self, server: ServerConfig) -> str:
        return server.image or self._config.image

    def _image_id(self, name: str) -> pulumi.Output[str]:
        asking = pulumi.InvokeOutputOptions(parent=self._opts.parent, provider=self._opts.provider)
        # Clouds keep former images under the same name.
        return provider.images.get_image_output(name=name, most_recent=True, opts=asking).id

    def _server_group(self, group: str) -> provider.compute.ServerGroup:
        # Two control planes on one hypervisor would fail together; workers may, where there is no room.
        policy = "anti-affinity" if group == "control_plane" else "soft-anti-affinity"
        name = group.replace("_", "-")
        return provider.compute.ServerGroup(name, name=f"{self._name}-{name}", policies=policy, opts=self._opts)

    def _plugged_in(
        self, server: ServerConfig, members: Sequence[provider.networking.SecGroup], host_key: KeyPair
    ) -> dict[str, Any]:
        """Network and security groups of a server. The first one of an own network is the way to all of it."""
        shared = self._shared[1].inner if self._shared and server.role == "control_plane" else None
        if not self._own and shared is None:
            network = provider.compute.InstanceNetworkArgs(name=self._config.network)
            return {"networks": [network], "security_groups": [group.name for group in members]}
        port = self._network.port(server.name, members, shared)
        if self._own and self._way is None:
            floating = self._own.floating_ip(server.name, port)
            self._way = pulumi.Output.all(floating.address, host_key.public_key).apply(
                lambda known: {**self._ssh(), "address": known[0], "host_key": _plain(known[1])}
            )
        return {"networks": [provider.compute.InstanceNetworkArgs(port=port.id)], "security_groups": None}

    def _host(self, server: ServerConfig, made: provider.compute.Instance, host_key: KeyPair) -> pulumi.Output[Host]:
        answering = AnsweringServer(
            server.name,
            server=made.name,
            instance=made.id,
            address=made.access_ip_v4,
            via=self._way,
            private_key=self._operator.private_key if self._way else "",
            opts=self._inside,
        )
        volumes = [
            DataVolume(name, volume, stack=self._name, server=made, opts=self._opts)
            for name, volume in self._config.volumes.items()
            if volume.machine == server.name
        ]

        def host(known: Mapping[str, Any]) -> Host:
            entry: Host = {
                "name": server.name,
                "group": server.role,
                "address": known["address"],
                **self._ssh(),
                "host_key": _plain(known["host_key"]),
                # Another server under the same name is another host: playbooks have to run on it.
                "variables": {"machines_instance": known["instance"]},
            }
            if known["volumes"]:
                entry["variables"]["machines_volumes"] = known["volumes"]
            if known["way"]:
                entry["via"] = known["way"]
                # The first one is the way, and the only one that has an address outside.
                if known["way"]["host_key"] == entry["host_key"]:
                    entry["public_address"] = known["way"]["address"]
            return entry

        return pulumi.Output.all(
            address=answering.address,
            instance=answering.instance,
            host_key=host_key.public_key,
            volumes=[volume.mount for volume in volumes],
            way=self._way,
        ).apply(host)

    def _ssh(self) -> dict[str, Any]:
        return {"user": self._config.user, "port": ssh.PORT}

    def _networks(self, addresses: Sequence[str]) -> list[str]:
        """Those that have these addresses: our own one, or, in one that is shared with others, no more than these."""
        if self._config.own_network:
            return [str(self._config.own_network.subnet)]
        return exact_networks(map(IPv4Address, addresses))


def _plain(public_key: str) -> str:
    """A public key without its comment."""
    return " ".join(public_key.split()[:2])

"""The machines: the computers that all else runs on, from one of several sources."""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal

import pulumi
from pydantic import Field, SecretStr, field_validator, model_validator

from components.base import PartConfig
from components.clouds.openstack_servers import ServerConfig
from components.local_machines import names
from components.playbook import Playbook
from components.secrets import Authority, KeyPair, public_half
from components.sources import existing, groups, local, openstack
from components.sources.existing import ExistingHost
from components.sources.groups import GpuConfig, GroupsConfig, Node, WorkerConfig
from components.sources.local import LocalMachineConfig
from components.sources.openstack import OpenStackConfig
from components.sources.source import Host, Opening, Provided, VirtualAddress, WantedAddress, public_address


class MachinesConfig(PartConfig):
    """What a stack says about its machines, under `cygnet:machines`."""

    source: Annotated[
        Literal["local", "existing", "openstack"],
        Field(
            description="local: containers with systemd on this host; existing: the machines listed in hosts; "
            "openstack: servers made in a cloud"
        ),
    ] = "local"
    groups: Annotated[
        GroupsConfig,
        Field(
            description="For machines that are made: how many, how big; for source openstack also further groups of "
            "workers, by names of your choice, such as gpu-t4"
        ),
    ] = Field(default_factory=GroupsConfig)
    hosts: Annotated[list[ExistingHost], Field(description="For source existing: the machines")] = Field(
        default_factory=list
    )
    private_key: Annotated[
        SecretStr | None,
        Field(description="For source existing: the SSH key that opens them, a secret; none: your SSH agent has it"),
    ] = None

    openstack: Annotated[OpenStackConfig | None, Field(description="For source openstack: where in which cloud")] = None
    variables: Annotated[
        dict[str, Any],
        Field(
            description="Variables of roles, by name, for machines that are unlike others: see docs/parts/machines.md. "
            "Nothing secret: they are in the stack's outputs, for everybody who may read these"
        ),
    ] = Field(default_factory=dict)

    gone_by: Annotated[
        dt.date | None,
        Field(
            description="Day on which the stack has to be gone, e.g. 2027-01-31: from then on `cygnet down --if-due` "
            "removes it, and nothing more is made"
        ),
    ] = None

    @field_validator("gone_by", mode="before")
    @classmethod
    def _is_a_day_without_quotes(cls, given: Any) -> Any:
        """Pulumi makes a moment of a day that stands in a stack file without quotes, in Go's words."""
        return given.removesuffix(" 00:00:00 +0000 UTC") if isinstance(given, str) else given

    @model_validator(mode="after")
    def _fits_its_source(self) -> "MachinesConfig":
        _CHECKS[self.source](self)
        return self

    @property
    def addresses(self) -> list[IPv4Network]:
        """Networks of their addresses, as far as they are known before the machines are."""
        if self.openstack:
            return [self.openstack.own_network.subnet] if self.openstack.own_network else []
        return [IPv4Network(host.address) for host in self.hosts] or [names.ADDRESSES]

    @property
    def count(self) -> int:
        """How many machines there will be."""
        return len(self.hosts) or sum(group.count for group in self.groups.all.values())

    @property
    def gpus(self) -> dict[str, GpuConfig]:
        """Of machines that have some, by the machine's name."""
        made = {name: size.gpu for name, _, size in groups.machines(self.groups) if isinstance(size, WorkerConfig)}
        found = {host.name: host.gpu for host in self.hosts} if self.source == "existing" else made
        return {name: gpu for name, gpu in found.items() if gpu}

    @property
    def kinds_of_gpus(self) -> list[GpuConfig]:
        """What machines have, or would have: a group of none has a kind, too."""
        return [*self.gpus.values(), *(size.gpu for size in self.groups.workers.values() if size.gpu)]

    @property
    def control_planes(self) -> int:
        """How many of them run Kubernetes itself."""
        return sum(host.group == "control_plane" for host in self.hosts) or self.groups.control_plane.count


@dataclass(frozen=True)
class Operator:
    """Who opens the machines by SSH."""

    private_key: pulumi.Output[str]
    public_key: pulumi.Output[str]
    """Empty: the machines know it already."""
    former: pulumi.Output[list[str]]
    """The private keys before it, as long as a machine may know one of these and not the new one."""

    @property
    def all_private_keys(self) -> pulumi.Output[str]:
        """In one text, the present one first."""
        return pulumi.Output.all(self.private_key, self.former).apply(lambda known: "".join([known[0], *known[1]]))


class Machines(pulumi.ComponentResource):
    """A stack's machines, each prepared by the role `machines`."""

    hosts: pulumi.Output[list[Host]]
    """All of them, the control plane first."""

    private_key: pulumi.Output[str]
    """What opens them by SSH, in OpenSSH's format; secret. Empty: the operator's SSH agent has it."""

    machines: Mapping[str, pulumi.CustomResource]
    """The resource of each, by name, the control plane first."""

    nodes: Mapping[str, Node]
    """What the cluster is told of each, by name."""

    anchor: pulumi.Resource | None
    """With what the whole cluster goes (`deleted_with`), unless machines outlive the stack."""

    entry: VirtualAddress
    """Where Kubernetes' API and what users reach is: the first control plane's address, or the virtual one."""

    is_virtual: bool
    """Whether that address moves to another control plane when the one that has it dies."""

    networks: pulumi.Output[list[str]]
    """IPv4 networks that have their addresses."""

    def __init__(
        self,
        name: str,
        config: MachinesConfig,
        *,
        authority: Authority,
        openings: Sequence[Opening],
        virtual: WantedAddress,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Machines", name, None, opts)
        provided, operator = _SOURCES[config.source](config, openings, virtual, self)
        self.private_key = operator.private_key
        self.machines = provided.machines
        self.nodes = nodes(config)
        self.anchor = provided.anchor
        self.networks = provided.networks
        hosts = provided.hosts.apply(lambda listed: with_variables(listed, config.variables))
        playbook = Playbook(
            name,
            "machines.yml",
            hosts=hosts,
            private_key=operator.all_private_keys,
            variables={
                "machines_ca_certificate": authority.certificate,
                "machines_operator_key": operator.public_key,
                "machines_former_operator_keys": operator.former.apply(
                    lambda former: [public_half(key) for key in former]
                ),
            },
            opts=pulumi.ResourceOptions(parent=self),
        )
        # Known when the playbook has run: whatever needs hosts needs them prepared.
        self.hosts = pulumi.Output.all(hosts, playbook.id).apply(lambda known: known[0])
        self.is_virtual = provided.virtual is not None
        self.entry = provided.virtual or VirtualAddress(
            inner=self.hosts.apply(lambda listed: str(listed[0]["address"])),
            public=self.hosts.apply(lambda listed: public_address(listed[0])),
        )
        self.register_outputs({"hosts": self.hosts, "networks": self.networks})


def with_variables(hosts: Sequence[Host], variables: Mapping[str, Any]) -> list[Host]:
    """Hosts with variables that are for all of them, as far as a source has not said otherwise of one.

    >>> with_variables([{"name": "blade-1", "variables": {"a": 1}}], {"a": 0, "b": 0})
    [{'name': 'blade-1', 'variables': {'a': 1, 'b': 0}}]
    """
    return [{**host, "variables": {**variables, **host["variables"]}} for host in hosts]


def wanted(config: GroupsConfig) -> list[LocalMachineConfig]:
    """The local machines that are to be made, the control plane first.

    >>> [machine.name for machine in wanted(GroupsConfig())]
    ['control-plane-1', 'worker-1', 'worker-2']
    """
    return [LocalMachineConfig(name, group, size.memory_gib * 1024) for name, group, size in groups.machines(config)]


def servers(config: GroupsConfig) -> list[ServerConfig]:
    """The servers that are to be made, the control plane first.

    >>> [(server.name, server.role) for server in servers(GroupsConfig.model_validate({"worker": {"count": 1}}))]
    [('control-plane-1', 'control_plane'), ('worker-1', 'worker')]
    """
    return [
        ServerConfig(
            name=name,
            group=group,
            role=groups.role(group),
            flavor=size.flavor or "",
            image=size.image,
            availability_zone=size.availability_zone,
            volume_gib=size.volume_gib,
            volume_type=size.volume_type,
        )
        for name, group, size in groups.machines(config)
    ]


def nodes(config: MachinesConfig) -> dict[str, Node]:
    """What the cluster is told of each machine, by the machine's name."""
    if config.source == "existing":
        return {host.name: groups.node(host.group, gpu=host.gpu) for host in config.hosts}
    return {name: groups.node(group, size) for name, group, size in groups.machines(config.groups)}


def _local(
    config: MachinesConfig, _openings: Sequence[Opening], virtual: WantedAddress, parent: pulumi.Resource
) -> tuple[Provided, Operator]:
    key = _operator_key(parent)
    made = local.provide(wanted(config.groups), key.public_key, parent, virtual=virtual is not None)
    return made, Operator(key.private_key, key.public_key, key.former)


def _existing(
    config: MachinesConfig, _openings: Sequence[Opening], virtual: WantedAddress, parent: pulumi.Resource
) -> tuple[Provided, Operator]:
    if virtual == "own":
        raise AssertionError("the configuration was checked")
    key = config.private_key.get_secret_value() if config.private_key else ""
    operator = Operator(pulumi.Output.secret(key), pulumi.Output.from_input(""), pulumi.Output.from_input([]))
    return existing.provide(config.hosts, virtual, parent), operator


def _openstack(
    config: MachinesConfig, openings: Sequence[Opening], virtual: WantedAddress, parent: pulumi.Resource
) -> tuple[Provided, Operator]:
    if config.openstack is None:
        raise AssertionError("the configuration was checked")
    key = _operator_key(parent)
    made = openstack.provide(config.openstack, servers(config.groups), openings, key, parent, virtual=virtual)
    return made, Operator(key.private_key, key.public_key, key.former)


_SOURCES: Mapping[
    str,
    Callable[[MachinesConfig, Sequence[Opening], WantedAddress, pulumi.Resource], tuple[Provided, Operator]],
] = {
    "local": _local,
    "existing": _existing,
    "openstack": _openstack,
}


_OF_SERVERS = {"flavor", "image", "availability_zone", "volume_gib", "volume_type"}
"""What only groups of servers in a cloud have."""


def _operator_key(parent: pulumi.Resource) -> KeyPair:
    return KeyPair(
        "operator",
        rotates="machines",
        comment=f"operator of {pulumi.get_stack()}",
        keeps_former=True,
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _check_local(config: MachinesConfig) -> None:
    for field in ("hosts", "private_key"):
        if field in config.model_fields_set:
            raise ValueError(f"{field} is for source existing only; remove it, or set source: existing")
    if config.openstack:
        raise ValueError("openstack is for source openstack only; remove it, or set source: openstack")
    for name in config.groups.named:
        raise ValueError(f"groups.{name}: further groups are for source openstack only; local machines are all alike")
    if (gpu := config.groups.worker.gpu) and gpu.driver != "none":
        raise ValueError(
            f"groups.worker.gpu.driver is {gpu.driver}, and local machines are containers, which have no devices of "
            "their own; say driver: none, and have the GPUs made known by others"
        )
    for name, group in config.groups.all.items():
        if others := sorted(group.model_fields_set & _OF_SERVERS):
            raise ValueError(f"groups.{name}.{others[0]} is for source openstack only; local machines have memory_gib")


def _check_existing(config: MachinesConfig) -> None:
    if "groups" in config.model_fields_set:
        raise ValueError("groups is for machines that are made; with source existing each of hosts says its group")
    if config.openstack:
        raise ValueError("openstack is for source openstack only; remove it, or set source: openstack")
    if not config.hosts:
        raise ValueError("source existing needs hosts: the list of machines with name, group, address and host_key")
    _check_unique("name", [host.name for host in config.hosts])
    _check_unique("address", [f"{host.address}:{host.port}" for host in config.hosts])
    groups.check_control_plane(sum(host.group == "control_plane" for host in config.hosts))


def _check_openstack(config: MachinesConfig) -> None:
    for field in ("hosts", "private_key"):
        if field in config.model_fields_set:
            raise ValueError(f"{field} is for source existing only; remove it, or set source: existing")
    if config.openstack is None:
        raise ValueError("source openstack needs openstack: network, image and admin_networks")
    for name, group in config.groups.all.items():
        if "memory_gib" in group.model_fields_set:
            raise ValueError(f"groups.{name}.memory_gib: with source openstack the flavor says it; remove it")
        if group.count and not group.flavor:
            raise ValueError(f"groups.{name} needs a flavor; `openstack flavor list` shows those of your cloud")
    made = [name for name, _, _ in groups.machines(config.groups)]
    for name, volume in config.openstack.volumes.items():
        if volume.machine not in made:
            raise ValueError(
                f"openstack.volumes.{name}.machine: there is no machine {volume.machine}; there are {', '.join(made)}"
            )


_CHECKS: Mapping[str, Callable[[MachinesConfig], None]] = {
    "local": _check_local,
    "existing": _check_existing,
    "openstack": _check_openstack,
}


def _check_unique(what: str, values: Sequence[Any]) -> None:
    twice = [str(value) for value, times in Counter(values).items() if times > 1]
    if twice:
        raise ValueError(f"two hosts have the same {what}: {', '.join(twice)}")

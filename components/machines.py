"""The machines: the computers that all else runs on, from one of several sources."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import pulumi
from pydantic import Field, SecretStr, field_validator, model_validator

from components.base import PartConfig
from components.playbook import Playbook
from components.secrets import Authority, KeyPair
from components.sources import existing, local, names
from components.sources.existing import ExistingHost
from components.sources.local import LocalMachineConfig
from components.sources.source import Host, Provided

_ETCD_MEMBERS = (1, 3, 5)


class ControlPlaneConfig(PartConfig):
    """The machines that run Kubernetes itself."""

    count: Annotated[int, Field(description="How many: 1, 3 or 5")] = 1
    memory_gib: Annotated[int, Field(ge=2, description="Memory of each")] = 4

    @field_validator("count")
    @classmethod
    def _can_vote(cls, count: int) -> int:
        return _check_control_plane(count)


class WorkerConfig(PartConfig):
    """The machines that run what users see."""

    count: Annotated[int, Field(ge=0, le=200, description="How many; 0: the control plane does their work too")] = 2
    memory_gib: Annotated[int, Field(ge=1, description="Memory of each")] = 6


class GroupsConfig(PartConfig):
    """The machines that a source makes, by what they do."""

    control_plane: ControlPlaneConfig = Field(default_factory=ControlPlaneConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)


class MachinesConfig(PartConfig):
    """What a stack says about its machines, under `cygnet:machines`."""

    source: Annotated[
        Literal["local", "existing"],
        Field(description="local: containers with systemd on this host; existing: the machines listed in hosts"),
    ] = "local"
    groups: Annotated[GroupsConfig, Field(description="For machines that are made: how many, how big")] = Field(
        default_factory=GroupsConfig
    )
    hosts: Annotated[list[ExistingHost], Field(description="For source existing: the machines")] = Field(
        default_factory=list
    )
    private_key: Annotated[
        SecretStr | None,
        Field(description="For source existing: the SSH key that opens them, a secret; none: your SSH agent has it"),
    ] = None

    @field_validator("source", mode="before")
    @classmethod
    def _source_is_there(cls, source: object) -> object:
        if source == "openstack":
            raise ValueError("openstack is not there yet; use local, or existing with machines that you made yourself")
        return source

    @model_validator(mode="after")
    def _fits_its_source(self) -> "MachinesConfig":
        _CHECKS[self.source](self)
        return self


class Machines(pulumi.ComponentResource):
    """A stack's machines, each prepared by the role `machines`."""

    hosts: pulumi.Output[list[Host]]
    """All of them, the control plane first."""

    private_key: pulumi.Output[str]
    """What opens them by SSH, in OpenSSH's format; secret. Empty: the operator's SSH agent has it."""

    machines: Mapping[str, pulumi.Resource]
    """The resource of each, by name, the control plane first."""

    anchor: pulumi.Resource | None
    """With what the whole cluster goes (`deleted_with`): the first control plane, unless it outlives the stack."""

    network: pulumi.Output[str]
    """The IPv4 network of their addresses."""

    def __init__(
        self,
        name: str,
        config: MachinesConfig,
        *,
        authority: Authority,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Machines", name, None, opts)
        provided, self.private_key = _SOURCES[config.source](config, self)
        self.machines = provided.machines
        self.anchor = provided.anchor
        self.network = provided.network
        playbook = Playbook(
            name,
            "machines.yml",
            hosts=provided.hosts,
            private_key=self.private_key,
            variables={"machines_ca_certificate": authority.certificate},
            opts=pulumi.ResourceOptions(parent=self),
        )
        # Known when the playbook has run: whatever needs hosts needs them prepared.
        self.hosts = pulumi.Output.all(provided.hosts, playbook.id).apply(lambda known: known[0])
        self.register_outputs({"hosts": self.hosts, "network": self.network})


def wanted(groups: GroupsConfig) -> list[LocalMachineConfig]:
    """The machines that are to be made, the control plane first.

    >>> [machine.name for machine in wanted(GroupsConfig())]
    ['control-plane-1', 'worker-1', 'worker-2']
    """
    return [
        LocalMachineConfig(names.machine_name(group, index), group, size.memory_gib * 1024)
        for group, size in (("control_plane", groups.control_plane), ("worker", groups.worker))
        for index in range(1, size.count + 1)
    ]


def _local(config: MachinesConfig, parent: pulumi.Resource) -> tuple[Provided, pulumi.Output[str]]:
    key = KeyPair("operator", comment=f"operator of {pulumi.get_stack()}", opts=pulumi.ResourceOptions(parent=parent))
    return local.provide(wanted(config.groups), key.public_key, parent), key.private_key


def _existing(config: MachinesConfig, parent: pulumi.Resource) -> tuple[Provided, pulumi.Output[str]]:
    key = config.private_key.get_secret_value() if config.private_key else ""
    return existing.provide(config.hosts, parent), pulumi.Output.secret(key)


_SOURCES: Mapping[str, Callable[[MachinesConfig, pulumi.Resource], tuple[Provided, pulumi.Output[str]]]] = {
    "local": _local,
    "existing": _existing,
}


def _check_local(config: MachinesConfig) -> None:
    for field in ("hosts", "private_key"):
        if field in config.model_fields_set:
            raise ValueError(f"{field} is for source existing only; remove it, or set source: existing")


def _check_existing(config: MachinesConfig) -> None:
    if "groups" in config.model_fields_set:
        raise ValueError("groups is for machines that are made; with source existing each of hosts says its group")
    if not config.hosts:
        raise ValueError("source existing needs hosts: the list of machines with name, group, address and host_key")
    _check_unique("name", [host.name for host in config.hosts])
    _check_unique("address", [f"{host.address}:{host.port}" for host in config.hosts])
    _check_control_plane(sum(host.group == "control_plane" for host in config.hosts))


_CHECKS: Mapping[str, Callable[[MachinesConfig], None]] = {"local": _check_local, "existing": _check_existing}


def _check_unique(what: str, values: Sequence[Any]) -> None:
    twice = [str(value) for value, times in Counter(values).items() if times > 1]
    if twice:
        raise ValueError(f"two hosts have the same {what}: {', '.join(twice)}")


def _check_control_plane(count: int) -> int:
    if count not in _ETCD_MEMBERS:
        raise ValueError(
            f"a control plane has 1, 3 or 5 machines, not {count}: etcd needs a majority, and an even number survives "
            "no more failures than one less"
        )
    return count

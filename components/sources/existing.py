"""Machines that are there already, reached by SSH: nothing is made, nothing is removed."""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider
from pydantic import Field, model_validator

from components.base import PartConfig
from components.errors import CygnetError
from components.sources.groups import GpuConfig
from components.sources.source import Host, Provided, VirtualAddress

_HOST_KEY = r"^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)) [A-Za-z0-9+/]+=*$"
_CONNECT_SECONDS = 10.0


class ExistingHost(PartConfig):
    """One machine that is there already."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", description="Its name in the stack")]
    group: Annotated[Literal["control_plane", "worker"], Field(description="What it does in the cluster")]
    address: Annotated[IPv4Address, Field(description="Where SSH, and the other machines, reach it")]
    user: Annotated[str, Field(description="Who signs in; if not root, sudo must not ask for a password")] = "root"
    port: Annotated[int, Field(ge=1, le=65535, description="TCP port of its SSH server")] = 22
    host_key: Annotated[
        str,
        Field(pattern=_HOST_KEY, description="Its SSH server's public key; `ssh-keyscan -t ed25519 ADDRESS` prints it"),
    ]
    gpu: Annotated[GpuConfig | None, Field(description="Its GPUs; only pods that ask for one start there")] = None

    @model_validator(mode="after")
    def _gpus_are_for_sessions(self) -> "ExistingHost":
        if self.gpu and self.group == "control_plane":
            raise ValueError("gpu is for group worker: what asks for no GPU, such as Kubernetes itself, is kept off")
        return self


class _ExistingMachineProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        check_ssh(str(props["machine"]), str(props["address"]), int(props["port"]))
        return CreateResult(id_=str(props["machine"]), outs=props)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        replaces = [key for key in ("address", "port") if olds[key] != news[key]]
        return DiffResult(changes=bool(replaces), replaces=replaces)


class ExistingMachine(Resource, module="cygnet", name="ExistingMachine"):
    """A machine's place in the state: entered when its SSH server answers, left without touching the machine."""

    def __init__(self, host: ExistingHost, opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"machine": host.name, "address": str(host.address), "port": host.port}
        super().__init__(_ExistingMachineProvider(), host.name, props, opts)


def provide(hosts: Sequence[ExistingHost], virtual: IPv4Address | None, parent: pulumi.Resource) -> Provided:
    """The machines of a stack, from what its configuration lists, and the address that its control planes share."""
    opts = pulumi.ResourceOptions(parent=parent)
    ordered = sorted(hosts, key=lambda host: host.group != "control_plane")
    machines = {host.name: ExistingMachine(host, opts) for host in ordered}
    listed = [as_host(host) for host in ordered]
    addresses = [*(host.address for host in hosts), *([virtual] if virtual else [])]
    shared = pulumi.Output.from_input(str(virtual))
    return Provided(
        hosts=pulumi.Output.all(*(machine.id for machine in machines.values())).apply(lambda _: listed),
        machines=machines,
        anchor=None,
        network=pulumi.Output.from_input(str(enclosing_network(addresses))),
        virtual=VirtualAddress(shared, shared) if virtual else None,
    )


def check_ssh(name: str, address: str, port: int) -> None:
    """Returns when an SSH server answers.

    Raises:
        CygnetError: None does.
    """
    try:
        with socket.create_connection((address, port), timeout=_CONNECT_SECONDS) as connection:
            said = connection.recv(4)
    except OSError as error:
        raise CygnetError(
            f"{name}: nothing answers on {address}:{port} ({error}); start the machine or its SSH server, open the "
            "port for this host, or correct cygnet:machines.hosts"
        ) from error
    if said != b"SSH-":
        raise CygnetError(f"{name}: what answers on {address}:{port} is no SSH server; correct cygnet:machines.hosts")


def as_host(host: ExistingHost) -> Host:
    """The host as all parts see it."""
    return {**host.model_dump(mode="json", exclude={"gpu"}), "variables": {}}


def enclosing_network(addresses: Sequence[IPv4Address]) -> IPv4Network:
    """The smallest network that has all the addresses.

    >>> enclosing_network([IPv4Address("10.0.0.4"), IPv4Address("10.0.0.9")])
    IPv4Network('10.0.0.0/28')
    """
    network = IPv4Network((min(addresses), 32))
    while max(addresses) not in network:
        network = network.supernet()
    return network

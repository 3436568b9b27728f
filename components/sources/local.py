"""Machines made on this host, as resources of Pulumi: a network for the stack, and its machines in it.

Whether something has to be done is decided by looking at the host, not at the state alone: after a restart of the
host, or after somebody killed a machine, the next `pulumi up` brings back what is not running.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pulumi.output import Unknown

from components.errors import CygnetError
from components.local_machines import base_image, host, identity, links, names, network, nspawn, records, variables
from components.local_machines.base_image import Base
from components.local_machines.network import Network
from components.local_machines.records import MachineSpec
from components.secrets import KeyPair
from components.sources.source import Host, Provided, VirtualAddress


@dataclass(frozen=True)
class LocalMachineConfig:
    """One machine to be made."""

    name: str
    group: str
    memory_mib: int


class _LocalNetworkProvider(ResourceProvider):
    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        """The pre-flight of a local stack: all findings, before anything is made."""
        findings = host.findings(news["memory_mib"])
        return CheckResult(news, [CheckFailure("", finding) for finding in findings])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(id_=props["stack"], outs=self._ensure(props, None))

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._ensure(news, int(olds["number"])))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        net = network.find(olds["stack"])
        well = net is not None and links.host_is_connected(net.number)
        replaces = ["stack"] if olds["stack"] != news["stack"] else []
        return DiffResult(changes=bool(replaces) or not well, replaces=replaces)

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_ if network.find(props["stack"]) else "", props)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        if not network.remove_network(props["stack"]):
            raise CygnetError(
                f"stack {props['stack']}: machines that the state does not know are still in its network; "
                f"`cygnet clean {props['stack']}` removes them"
            )

    def _ensure(self, props: dict[str, Any], number: int | None) -> dict[str, Any]:
        net = network.ensure_network(props["stack"], number)
        return {**props, "number": net.number, "subnet": str(net.subnet)}


class LocalNetwork(Resource, module="cygnet", name="LocalNetwork"):
    """A stack's network on this host. Gives `number` (the third byte of its addresses) and `subnet`.

    Args:
        memory_mib: Memory limits of the machines that will be in it, by name; for the pre-flight.
    """

    number: pulumi.Output[int]
    subnet: pulumi.Output[str]

    def __init__(self, name: str, memory_mib: Mapping[str, int], opts: pulumi.ResourceOptions | None = None) -> None:
        props = {"stack": pulumi.get_stack(), "memory_mib": dict(memory_mib), "number": None, "subnet": None}
        own = pulumi.ResourceOptions(delete_before_replace=True)
        super().__init__(_LocalNetworkProvider(), name, props, pulumi.ResourceOptions.merge(opts, own))


class _LocalMachineProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        spec = _spec(props)
        record = records.find(spec.stack, spec.name)
        if record and not identity.may_be(record, spec):
            raise CygnetError(
                f"{spec.label}: a machine of this name is there already, from a state that is lost; "
                f"`cygnet clean {spec.stack}` removes it and its data"
            )
        return CreateResult(id_=str(spec.label), outs=self._ensure(props))

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=self._ensure(news))

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # In a preview in which the network has to be repaired, its number is unknown, and yet the same afterwards.
        known = {key: value for key, value in news.items() if not isinstance(value, Unknown)}
        edited = {key for key, value in known.items() if value != olds.get(key)}
        replaces = sorted(edited & {"stack", "name", "number"})
        if records.find(olds["stack"], olds["name"]) is None:
            replaces = ["name"]  # its data is gone: what comes up under its name is another machine
        # The operator's key is changed on machines that run, by their role.
        changed = edited & {"memory_mib", "host_key"}
        if not replaces and "base" in edited:
            _tell_of_newer_base(olds["name"], Base(olds["base"]), Base(news["base"]))
        return DiffResult(
            changes=bool(replaces or changed) or not nspawn.is_running(olds["stack"], olds["name"]),
            replaces=replaces,
        )

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_ if records.find(props["stack"], props["name"]) else "", props)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        nspawn.remove_machine(props["stack"], props["name"], pulumi.log.info)

    def _ensure(self, props: dict[str, Any]) -> dict[str, Any]:
        spec = _spec(props)
        net = Network(stack=spec.stack, number=props["number"])
        record = nspawn.ensure_machine(spec, net, pulumi.log.info)
        base = Base(record.base)
        return {
            **props,
            "base": base.key,
            "address": str(net.address(spec.name)),
            "variables": {
                **variables.variables(spec.memory_mib, variables.facts(base.root)),
                # Another machine under the same name and address is another host: playbooks have to run on it.
                "machines_instance": record.instance,
            },
        }


class LocalMachine(Resource, module="cygnet", name="LocalMachine"):
    """One machine on this host. Gives `address`, `host_key`, and `variables` for roles."""

    address: pulumi.Output[str]
    host_key: pulumi.Output[str]
    variables: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        config: LocalMachineConfig,
        *,
        network: LocalNetwork,
        authorized_key: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        key = KeyPair(f"{config.name}-host", rotates="host", comment=config.name, opts=opts)
        props = {
            "stack": pulumi.get_stack(),
            "name": config.name,
            "number": network.number,
            "memory_mib": config.memory_mib,
            "authorized_key": authorized_key,
            "host_key": key.public_key,
            "host_private_key": key.private_key,
            "base": base_image.current().key,
            "address": None,
            "variables": None,
        }
        own = pulumi.ResourceOptions(additional_secret_outputs=["host_private_key"], delete_before_replace=True)
        super().__init__(_LocalMachineProvider(), config.name, props, pulumi.ResourceOptions.merge(opts, own))


def provide(
    machines: Sequence[LocalMachineConfig],
    authorized_key: pulumi.Input[str],
    parent: pulumi.Resource,
    *,
    virtual: bool,
) -> Provided:
    """The machines of a stack, made on this host.

    Args:
        machines: The control plane first.
        authorized_key: Public SSH key of the operator.
        virtual: Whether the control planes share an address.
        parent: What the resources belong to.
    """
    opts = pulumi.ResourceOptions(parent=parent)
    net = LocalNetwork("local", {machine.name: machine.memory_mib for machine in machines}, opts)
    made = {
        machine.name: LocalMachine(machine, network=net, authorized_key=authorized_key, opts=opts)
        for machine in machines
    }
    hosts = pulumi.Output.all(*(_host(machine, made[machine.name]) for machine in machines))
    shared = net.subnet.apply(lambda subnet: str(names.virtual_address(IPv4Network(subnet))))
    return Provided(
        hosts=hosts,
        machines=made,
        anchor=net if virtual else made[machines[0].name],
        networks=net.subnet.apply(lambda subnet: [subnet]),
        virtual=VirtualAddress(shared, shared) if virtual else None,
    )


def _host(config: LocalMachineConfig, machine: LocalMachine) -> pulumi.Output[Host]:
    return pulumi.Output.all(machine.address, machine.host_key, machine.variables).apply(
        lambda known: {
            "name": config.name,
            "group": config.group,
            "address": known[0],
            "user": "root",
            "port": nspawn.SSH_PORT,
            "host_key": " ".join(known[1].split()[:2]),
            "variables": known[2],
        }
    )


def _spec(props: Mapping[str, Any]) -> MachineSpec:
    return MachineSpec.model_validate({field: props[field] for field in MachineSpec.model_fields})


def _tell_of_newer_base(name: str, own: Base, newer: Base) -> None:
    """A running machine stays on the base it was made on: what is below a live overlay cannot be exchanged."""
    missing = sorted(set(base_image.packages()) - own.packages)
    lacks = f" lacks {', '.join(missing)}, and" if missing else ""
    pulumi.log.warn(
        f"{name}{lacks} stays on the base {own.key} that it was made on; new machines get {newer.key}. "
        f"To make it anew, without what is on it: pulumi up --replace '**{name}'"
    )

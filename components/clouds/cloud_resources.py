"""What a stack has in a cloud: found by name, tag and metadata alone, so that a state may be compared with it, or lost.

Used by `cygnet up`, `down` and `leftovers`, and by tests that prove that nothing remains.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from components.clouds import cloud as clouds

METADATA: Final = "cygnet_stack"
"""Under this key the metadata of servers and volumes have the stack."""

_RULE: Final = ("securityGroupId", "direction", "protocol", "portRangeMin", "remoteIpPrefix", "remoteGroupId")
"""What makes a rule of a security group this one."""
FAILURES: Final = (SDKException, ClientException)
"""With what openstacksdk tells that a service does not answer, or refuses."""
_NOVA_WITHHOLDS: Final = "the cloud does not tell the user data that it was made with"
_NO_DATA: Final = "it has nothing to lose, and the next `cygnet up` makes it"


@dataclass(frozen=True)
class Kind:
    """A kind of resources."""

    service: str
    type: str
    """The resource's type in Pulumi."""
    not_adopted: str = ""
    """Why one is made anew, and never adopted by a state; empty: it is."""
    billable: bool = False


KINDS: Final[Mapping[str, Kind]] = {
    "server": Kind("compute", "openstack:compute/instance:Instance", _NOVA_WITHHOLDS, billable=True),
    "attachment": Kind("compute", "openstack:compute/volumeAttach:VolumeAttach"),
    "floating IP": Kind("network", "openstack:networking/floatingIp:FloatingIp", billable=True),
    "router interface": Kind("network", "openstack:networking/routerInterface:RouterInterface"),
    "router": Kind("network", "openstack:networking/router:Router", billable=True),
    "port": Kind("network", "openstack:networking/port:Port", _NO_DATA),
    "subnet": Kind("network", "openstack:networking/subnet:Subnet"),
    "network": Kind("network", "openstack:networking/network:Network"),
    "security rule": Kind("network", "openstack:networking/secGroupRule:SecGroupRule"),
    "security group": Kind("network", "openstack:networking/secGroup:SecGroup"),
    "server group": Kind("compute", "openstack:compute/serverGroup:ServerGroup"),
    "key pair": Kind("compute", "openstack:compute/keypair:Keypair"),
    "flavor": Kind("compute", "openstack:compute/flavor:Flavor", _NO_DATA),
    "volume": Kind("block storage", "openstack:blockstorage/volume:Volume", billable=True),
}
"""All kinds, in the order in which they can be removed: what stands on another comes first."""

_KIND_OF_TYPE: Final = {kind.type: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class CloudResource:
    """One thing of a stack in a cloud."""

    kind: str
    id: str
    """As Pulumi's state has it."""
    name: str
    same: str
    """What it has in common with the one that a stack declares: its name, where there is one."""
    status: str = ""
    size: str = ""
    busy: bool = False
    """Whether the cloud is still making, changing or removing it."""
    fault: str = ""
    """Why the cloud could not make or change it, as the cloud says it."""
    created: datetime | None = None

    def __str__(self) -> str:
        """As a person would name it."""
        return f"{self.kind} {self.name or self.id}"


def prefix(stack: str) -> str:
    """With what the names of all that a stack has in a cloud begin.

    >>> prefix("prod")
    'cygnet-prod'
    """
    return f"cygnet-{stack}"


def same(type_: str, inputs: Mapping[str, Any]) -> str | None:
    """What a declared resource has in common with the one that the cloud has; None: no kind of ours.

    Args:
        type_: Pulumi's.
        inputs: Pulumi's, in camel case.
    """
    kind = _KIND_OF_TYPE.get(type_)
    if kind == "security rule":
        return _rule([inputs.get(key) for key in _RULE])
    if kind == "router interface":
        return f"{inputs.get('routerId')} {inputs.get('subnetId')}"
    if kind == "attachment":
        return f"{inputs.get('instanceId')} {inputs.get('volumeId')}"
    return inputs.get("description" if kind == "floating IP" else "name") if kind else None


def resources(cloud: Connection, stack: str) -> list[CloudResource]:
    """All that a stack has in a cloud, in the order of `KINDS`.

    Raises:
        CloudError: A service of the cloud does not answer.
    """
    try:
        found = list(_Project(cloud, stack).resources())
    except FAILURES as error:
        raise unanswered(cloud, error) from error
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), one.name, one.id))


def unanswered(cloud: Connection, error: Exception) -> clouds.CloudError:
    """What is said when a service fails."""
    return clouds.CloudError(
        f"{clouds.where(cloud)}: a service answers with an error ({error}). Run the same command again; if it stays, "
        "ask the cloud's operators, or see what `openstack --debug server list` shows."
    )


def by_kind(found: Sequence[CloudResource]) -> dict[str, list[CloudResource]]:
    """Resources by kind, in the order of `KINDS`, kinds without any left out."""
    return {kind: ours for kind in KINDS if (ours := [one for one in found if one.kind == kind])}


class _Project:
    """The project of an account, as far as a stack has something in it."""

    def __init__(self, cloud: Connection, stack: str) -> None:
        self._cloud, self._stack, self._prefix = cloud, stack, prefix(stack)
        self._project = {"project_id": cloud.current_project_id}  # an administrator would see those of all projects
        self._keys = [key.name for key in cloud.compute.keypairs()]
        self._servers = list(cloud.compute.servers())
        self._groups = list(cloud.network.security_groups(**self._project))
        others = {prefix(server.metadata[METADATA]) for server in self._servers if METADATA in server.metadata}
        others |= {*self._keys, *(tag for group in self._groups for tag in group.tags)}
        self._others = tuple(f"{other}-" for other in others if other.startswith(f"{self._prefix}-"))
        """Names begin so of other stacks, whose own names begin with this one's."""

    def resources(self) -> Iterator[CloudResource]:
        network, compute = self._cloud.network, self._cloud.compute
        for server in filter(self._has_metadata, self._servers):
            yield _resource(
                "server",
                server,
                size=server.flavor.get("original_name", ""),
                busy=server.status == "BUILD" or bool(server.task_state),
                fault=(server.fault or {}).get("message", "no reason is told") if server.status == "ERROR" else "",
            )
        for ip in network.ips(**self._project):
            if self._prefix in ip.tags or self._is_name(ip.description):
                yield _resource("floating IP", ip, name=ip.floating_ip_address, same=ip.description)
        routers = [router for router in network.routers(**self._project) if self._has_tag(router)]
        networks = [net for net in network.networks(**self._project) if self._has_tag(net)]
        yield from (_resource("router", router) for router in routers)
        yield from (_resource("network", net) for net in networks)
        yield from (_resource("subnet", one) for one in network.subnets(**self._project) if self._has_tag(one))
        yield from self._ports({router.id: router.name for router in routers}, {net.id for net in networks})
        yield from self._security()
        yield from (_resource("server group", one) for one in compute.server_groups() if self._is_name(one.name))
        yield from (CloudResource("key pair", key, key, key) for key in self._keys if key == self._prefix)
        for flavor in compute.flavors():
            if self._is_name(flavor.name):
                yield CloudResource("flavor", flavor.id, flavor.name, flavor.name)
        if clouds.has_service(self._cloud, "block-storage"):
            yield from self._volumes()

    def _ports(self, routers: Mapping[str, str], networks: set[str]) -> Iterator[CloudResource]:
        for port in self._cloud.network.ports(**self._project):
            if port.device_owner.startswith("network:router_interface") and port.device_id in routers:
                subnet = port.fixed_ips[0]["subnet_id"] if port.fixed_ips else ""
                both = f"{port.device_id} {subnet}"
                yield _resource("router interface", port, name=f"of {routers[port.device_id]}", same=both)
            # Those that Nova and Neutron made come and go with servers and routers.
            elif self._has_tag(port) or (not port.device_owner and port.network_id in networks):
                yield _resource("port", port)

    def _security(self) -> Iterator[CloudResource]:
        for group in filter(self._has_tag, self._groups):
            yield _resource("security group", group)
            # Not asked for as a list: Neutron answers that with an error while any group of the project is removed.
            for rule in group.security_group_rules:
                alone = [rule[key] for key in ("protocol", "port_range_min", "remote_ip_prefix", "remote_group_id")]
                # Neutron itself makes the rules that let everything out.
                if rule["direction"] == "ingress" or any(alone):
                    said = " ".join(str(part) for part in (rule["direction"], *alone[:3]) if part)
                    yield CloudResource(
                        "security rule",
                        rule["id"],
                        f"{said} of {group.name}",
                        _rule([group.id, rule["direction"], *alone]),
                        created=_time(rule["created_at"]),
                    )

    def _volumes(self) -> Iterator[CloudResource]:
        for volume in filter(self._has_metadata, self._cloud.block_storage.volumes()):
            yield _resource("volume", volume, size=f"{volume.size} GiB", busy=volume.status.endswith("ing"))
            for at in volume.attachments:
                server, id_ = at["server_id"], at["volume_id"]
                yield CloudResource("attachment", f"{server}/{id_}", f"of {volume.name}", f"{server} {id_}")

    def _has_tag(self, one: Any) -> bool:
        return self._prefix in one.tags or self._is_name(one.name)

    def _has_metadata(self, one: Any) -> bool:
        stack = one.metadata.get(METADATA)
        return bool(stack == self._stack) if stack else self._is_name(one.name)

    def _is_name(self, name: str | None) -> bool:
        """Whether a name is one of the stack's, and not of one whose own name begins with this one's."""
        if name == self._prefix:
            return True
        return bool(name) and f"{name}".startswith(f"{self._prefix}-") and not f"{name}-".startswith(self._others)


def _resource(kind: str, one: Any, **more: Any) -> CloudResource:
    created = getattr(one, "created_at", None)
    given = {"name": one.name or "", "same": one.name or "", "status": getattr(one, "status", None) or "", **more}
    return CloudResource(kind, one.id, created=_time(created) if created else None, **given)


def _time(text: str) -> datetime:
    """A moment as the services write it, some with and some without the zone, which is always UTC.

    >>> _time("2026-11-21T18:00:00Z") == _time("2026-11-21T18:00:00.000000")
    True
    """
    return datetime.fromisoformat(f"{text.removesuffix('Z')}+00:00")


def _rule(parts: Sequence[Any]) -> str:
    """A rule in one line, from what `_RULE` lists; Neutron says of a network that is everything that there is none."""
    return " ".join("" if part in (None, "0.0.0.0/0", "::/0") else str(part) for part in parts)

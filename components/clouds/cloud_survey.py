"""Asks all services of a cloud at once what has to be known before a stack is made or changed in it."""

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

from keystoneauth1.exceptions import ClientException
from openstack.connection import Connection
from openstack.exceptions import SDKException

from components.clouds import cloud
from components.clouds.cloud_facts import Facts, Flavor, Image, Network, Quota, Server, devices
from components.clouds.openstack_network import ENTRY

VOLUMES: Final = "block-storage"
_AT_ONCE: Final = 8  # questions; more would look like an attack to some clouds
_PAGE: Final = 1000  # images in one answer
_CAPACITIES: Final = "1.10"  # of Placement's API: the first in which one answer has the capacities of all hypervisors


def gather(connection: Connection, stack: str, *, volumes: bool, address: IPv4Address | None = None) -> Facts:
    """Asks a cloud.

    Args:
        connection: Signed in.
        stack: Name of the stack.
        volumes: Whether it has any; a cloud without them is not asked.
        address: That the stack wants for itself.

    Raises:
        CloudError: A service gives no answer.
    """
    own, access = f"cygnet-{stack}", cloud.access(connection)
    compute, network, block = connection.compute, connection.network, connection.block_storage
    project = str(access.project_id)
    of_volumes: dict[str, Callable[[], Any]] = {
        "volumes": lambda: {one.name: one.size for one in block.volumes() if one.metadata.get("cygnet_stack") == stack},
        "volume types": lambda: [one.name for one in block.types()],
        "quotas of volumes": lambda: block.get_limits().absolute,
    }
    found = _ask(
        connection,
        {
            "clock": lambda: _clock_seconds(connection),
            "flavors": lambda: {one.name: _flavor(one) for one in compute.flavors(get_extra_specs=True)},
            "images": lambda: _images(connection),
            "networks": lambda: _networks(connection, project),
            "zones": lambda: [one.name for one in compute.availability_zones() if one.state["available"]],
            "servers": lambda: {one.name: _server(one) for one in _of_stack(compute.servers(name=f"^{own}-"), stack)},
            "key pairs": lambda: _names(compute.keypairs()),
            "server groups": lambda: _names(compute.server_groups()),
            "security groups": lambda: {
                one.name: len(one.security_group_rules) for one in network.security_groups(tags=own)
            },
            "routers": lambda: _names(network.routers(tags=own)),
            "ports": lambda: _names(network.ports(tags=own)),
            "address": lambda: {address: _taken(connection, address, own)} if address else {},
            "floating IPs": lambda: frozenset(one.description for one in network.ips(tags=own)),
            "quotas of servers": lambda: compute.get_limits().absolute,
            "quotas of networks": lambda: network.get_quota(project, details=True),
            **(of_volumes if volumes else {}),
        },
    )
    taken = {name for flavor in found["flavors"].values() for name in flavor.devices}
    return Facts(
        user=str(access.username),
        project=str(access.project_name),
        roles=frozenset(access.role_names or ()),
        clock_seconds=found["clock"],
        flavors=found["flavors"],
        images=found["images"],
        networks=found["networks"],
        zones=found["zones"],
        volume_types=found.get("volume types", []),
        servers=found["servers"],
        volumes=found.get("volumes", {}),
        rules=found["security groups"],
        there={
            "key-pairs": found["key pairs"],
            "server-groups": found["server groups"],
            "networks": frozenset(one.name for one in found["networks"]),
            "routers": found["routers"],
            "ports": found["ports"],
            "floating-ips": found["floating IPs"],
        },
        quotas={
            "key-pairs": Quota(found["quotas of servers"].keypairs, len(found["key pairs"])),
            **_quotas_of_servers(found["quotas of servers"]),
            **_quotas_of_networks(found["quotas of networks"]),
            **(_quotas_of_volumes(found["quotas of volumes"]) if volumes else {}),
        },
        taken={one: port for one, port in found["address"].items() if port},
        group_members=found["quotas of servers"].server_group_members,
        free=_ask(connection, {name: partial(_free, connection, name) for name in taken}),
    )


def _ask(connection: Connection, questions: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    with ThreadPoolExecutor(_AT_ONCE) as together:
        asked = {name: together.submit(question) for name, question in questions.items()}
    answers = {}
    for name, answer in asked.items():
        try:
            answers[name] = answer.result()
        except (SDKException, ClientException) as error:
            raise cloud.CloudError(
                f"{cloud.where(connection)} does not tell its {name}: {error}. Try again; if it stays so, ask those "
                "who run the cloud."
            ) from error
    return answers


def _names(found: Iterable[Any]) -> frozenset[str]:
    return frozenset(one.name for one in found)


def _of_stack(found: Iterable[Any], stack: str) -> list[Any]:
    """Those of this stack: names of the stack `a-b` begin like those of the stack `a`."""
    return [one for one in found if one.metadata.get("cygnet_stack") == stack]


def _clock_seconds(connection: Connection) -> float:
    answer = connection.session.get(connection.config.get_auth_args()["auth_url"], authenticated=False)
    return (parsedate_to_datetime(answer.headers["Date"]) - dt.datetime.now(dt.UTC)).total_seconds()


def _flavor(found: Any) -> Flavor:
    return Flavor(found.vcpus, found.ram, found.disk, devices(found.extra_specs))


def _images(connection: Connection) -> dict[str, Image]:
    listed = connection.image.images(status="active", sort="created_at:asc", limit=_PAGE)
    return {one.name: Image(one.min_disk or 0, one.min_ram or 0) for one in listed}


def _networks(connection: Connection, project: str) -> list[Network]:
    subnets = defaultdict(list)
    for subnet in connection.network.subnets(ip_version=4):
        subnets[subnet.network_id].append(IPv4Network(subnet.cidr))
    return [_network(one, project, subnets[one.id]) for one in connection.network.networks()]


def _network(found: Any, project: str, subnets: Iterable[IPv4Network]) -> Network:
    inner = found.is_shared or not found.is_router_external or found.project_id == project
    return Network(found.name, bool(inner and found.subnet_ids), bool(found.is_router_external), tuple(subnets))


def _taken(connection: Connection, address: IPv4Address, own: str) -> str | None:
    """By whom else an address is used."""
    found = connection.network.ports(fixed_ips=f"ip_address={address}")
    return next((one.name or one.id for one in found if one.name != f"{own}-{ENTRY}"), None)


def _server(found: Any) -> Server:
    return Server(found.status, (found.fault or {}).get("message", ""), found.flavor.vcpus, found.flavor.ram)


def _quotas_of_servers(limits: Any) -> dict[str, Quota]:
    return {
        "instances": Quota(limits.instances, limits.instances_used),
        "cores": Quota(limits.total_cores, limits.total_cores_used),
        "ram": Quota(limits.total_ram, limits.total_ram_used),
        "server-groups": Quota(limits.server_groups, limits.server_groups_used),
    }


def _quotas_of_networks(limits: Any) -> dict[str, Quota]:
    counted = {
        "networks": limits.networks,
        "subnets": limits.subnets,
        "routers": limits.routers,
        "ports": limits.ports,
        "floating-ips": limits.floating_ips,
        "secgroups": limits.security_groups,
        "secgroup-rules": limits.security_group_rules,
    }
    return {option: Quota(one["limit"], one["used"]) for option, one in counted.items()}


def _quotas_of_volumes(limits: Any) -> dict[str, Quota]:
    return {
        "volumes": Quota(limits.max_total_volumes, limits.total_volumes_used),
        "gigabytes": Quota(limits.max_total_volume_gigabytes, limits.total_gigabytes_used),
    }


def _free(connection: Connection, resource_class: str) -> int | None:
    """How many of a resource are left. Placement tells administrators only, unless a cloud has it otherwise."""
    answer = connection.placement.get(
        f"/allocation_candidates?resources={resource_class}:1", microversion=_CAPACITIES, raise_exc=False
    )
    if answer.status_code != HTTPStatus.OK:
        return None
    nothing = {"capacity": 0, "used": 0}
    amounts = [one["resources"].get(resource_class, nothing) for one in answer.json()["provider_summaries"].values()]
    return sum(int(amount["capacity"]) - int(amount["used"]) for amount in amounts)

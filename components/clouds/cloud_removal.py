"""Removes what a stack has in a cloud, in the order in which it stands on each other."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Final

from openstack.connection import Connection
from openstack.exceptions import ConflictException, NotFoundException

from components.clouds.cloud_resources import FAILURES, KINDS, CloudResource, unanswered
from components.errors import CygnetError

_GONE_SECONDS: Final = 300


def remove(cloud: Connection, unwanted: Iterable[CloudResource], say: Callable[[str], None]) -> None:
    """Removes resources for good, in the right order.

    Args:
        cloud: Where they are.
        unwanted: In any order. What is gone already counts as removed.
        say: Told what is removed.

    Raises:
        CloudError: A service does not answer, or refuses.
    """
    for kind in KINDS:
        ours = [one for one in unwanted if one.kind == kind]
        for one in ours:
            say(f"{one}: removing")
            _attempt(cloud, one, partial(REMOVALS[kind], cloud, one))
        for one in ours:
            if wait := _WAITS.get(kind):
                _attempt(cloud, one, partial(wait, cloud, one))


def _attempt(cloud: Connection, one: CloudResource, does: Callable[[], object]) -> None:
    try:
        does()
    except NotFoundException:
        pass
    except ConflictException as error:
        raise CygnetError(
            f"{one} ({one.id}) is not removed, because something uses it: {error}. `cygnet leftovers STACK` lists what "
            "the stack has; what others made on it has to go first."
        ) from error
    except FAILURES as error:
        raise unanswered(cloud, error) from error


def _wait_for_server(cloud: Connection, one: CloudResource) -> None:
    cloud.compute.wait_for_delete(cloud.compute.get_server(one.id), interval=1, wait=_GONE_SECONDS)


def _remove_volume(cloud: Connection, one: CloudResource) -> None:
    volume: Any = cloud.block_storage.get_volume(one.id)  # of either version of the service
    if volume.status in ("in-use", "detaching"):  # by a server that was removed just now
        cloud.block_storage.wait_for_status(volume, "available", interval=1, wait=_GONE_SECONDS)
    cloud.block_storage.delete_volume(volume)


def _wait_for_volume(cloud: Connection, one: CloudResource) -> None:
    cloud.block_storage.wait_for_delete(cloud.block_storage.get_volume(one.id), interval=1, wait=_GONE_SECONDS)


def _remove_interface(cloud: Connection, one: CloudResource) -> None:
    cloud.network.remove_interface_from_router(*one.same.split())


def _wait_for_detached(cloud: Connection, one: CloudResource) -> None:
    volume: Any = cloud.block_storage.get_volume(one.same.split()[1])
    cloud.block_storage.wait_for_status(volume, "available", interval=1, wait=_GONE_SECONDS)


def _detach(cloud: Connection, one: CloudResource) -> None:
    server, volume = one.same.split()
    cloud.compute.delete_volume_attachment(server, volume, ignore_missing=False)


REMOVALS: Final[Mapping[str, Callable[[Connection, CloudResource], object]]] = {
    "server": lambda cloud, one: cloud.compute.delete_server(one.id, ignore_missing=False),
    "floating IP": lambda cloud, one: cloud.network.delete_ip(one.id, ignore_missing=False),
    "attachment": _detach,
    "router interface": _remove_interface,
    "router": lambda cloud, one: cloud.network.delete_router(one.id, ignore_missing=False),
    "port": lambda cloud, one: cloud.network.delete_port(one.id, ignore_missing=False),
    "subnet": lambda cloud, one: cloud.network.delete_subnet(one.id, ignore_missing=False),
    "network": lambda cloud, one: cloud.network.delete_network(one.id, ignore_missing=False),
    "security rule": lambda cloud, one: cloud.network.delete_security_group_rule(one.id, ignore_missing=False),
    "security group": lambda cloud, one: cloud.network.delete_security_group(one.id, ignore_missing=False),
    "server group": lambda cloud, one: cloud.compute.delete_server_group(one.id, ignore_missing=False),
    "key pair": lambda cloud, one: cloud.compute.delete_keypair(one.id, ignore_missing=False),
    "flavor": lambda cloud, one: cloud.compute.delete_flavor(one.id, ignore_missing=False),
    "volume": _remove_volume,
}
"""How one of each kind is removed."""

_WAITS: Final[Mapping[str, Callable[[Connection, CloudResource], None]]] = {
    "server": _wait_for_server,
    "attachment": _wait_for_detached,
    "volume": _wait_for_volume,
}

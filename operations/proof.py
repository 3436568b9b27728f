"""What the cloud answers, service by service, when a stack was removed: nothing, or exactly what, and what it costs."""

from collections.abc import Collection, Mapping, Sequence

from openstack.connection import Connection

from components.clouds import cloud_resources
from components.clouds.cloud_resources import KINDS, CloudResource
from components.errors import CygnetError
from engine import command_line
from operations import recovery

_SERVICES = ("compute", "network", "block storage")


def ask(cloud: Connection, stack: str, kept: Collection[str], prices: Mapping[str, float]) -> str:
    """What the cloud still has of a stack, as text.

    Args:
        cloud: The stack's.
        stack: Its name.
        kept: The ids of what was not to be removed.
        prices: As the stack file has them.

    Raises:
        CygnetError: It has more than that.
    """
    found = cloud_resources.resources(cloud, stack)
    if any(one.id not in kept for one in found):
        found = recovery.settled(cloud, stack)
    text = answer(found, kept, prices)
    if unwanted := [one for one in found if one.id not in kept]:
        raise CygnetError(
            f"the cloud still has what belonged to stack {stack}:\n{text}\n"
            f"{len(unwanted)} of that was to go. See what it is: cygnet leftovers {stack}. Remove it for good: "
            f"cygnet leftovers {stack} --remove"
        )
    return text


def answer(found: Sequence[CloudResource], kept: Collection[str], prices: Mapping[str, float]) -> str:
    """A line for each service that has nothing, and for each resource that is left.

    >>> home = CloudResource("volume", "9d2f", "cygnet-a-homes", "", size="100 GiB")
    >>> print(answer([home], ["9d2f"], {"volume_gib": 0.0001}))
    compute        nothing
    network        nothing
    block storage  volume cygnet-a-homes (9d2f), 100 GiB, kept, 0.0100 per hour
    """
    rows = []
    for service in _SERVICES:
        left = [one for one in found if KINDS[one.kind].service == service]
        rows += [(service, _told(one, kept, prices)) for one in left] or [(service, "nothing")]
    return command_line.table(rows)


def price(one: CloudResource, prices: Mapping[str, float]) -> float | None:
    """What one costs per hour; None where the stack file does not say it.

    >>> price(CloudResource("server", "1", "a", "", size="m2.large"), {"m2.large": 0.25})
    0.25
    """
    if one.kind == "volume":
        each = prices.get("volume_gib")
        return None if each is None else each * float(one.size.split()[0])
    return prices.get("floating_ip" if one.kind == "floating IP" else one.size)


def _told(one: CloudResource, kept: Collection[str], prices: Mapping[str, float]) -> str:
    cost = price(one, prices)
    parts = [f"{one} ({one.id})", one.size, "kept" if one.id in kept else "left over"]
    billed = [f"{cost:.4f} per hour"] if cost is not None else ["billable"] if KINDS[one.kind].billable else []
    return ", ".join(filter(None, [*parts, *billed]))

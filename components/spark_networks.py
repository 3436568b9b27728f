"""Networks that executors of a cluster for Spark reach besides one another and their driver: where a site has its data.

None, unless a stack file names some. Their drivers, in sessions, reach these as well, wherever else sessions may go.
Machines, pods and services of the stack are in none of them: what is known of these is refused here, and a machine that
comes later is kept by the guard of machines (playbooks/roles/cni), whatever a policy says.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Annotated, Any, Final

from pydantic import Field

from components.base import PartConfig
from components.policies import tcp

XROOTD: Final = 1094
EOS_DISKS: Final = 1095
"""To which EOS sends who asks for a file at XRootD's port: TCP, as EOS's own settings have it."""

Port = Annotated[int, Field(ge=1, le=65535)]


class OpenNetwork(PartConfig):
    """A network, and what of it."""

    network: Annotated[
        IPv4Network, Field(description="Its addresses, such as 192.0.2.0/24, or 192.0.2.7/32 for one server")
    ]
    ports: Annotated[
        tuple[Port, ...],
        Field(
            min_length=1,
            max_length=20,
            description="TCP ports. By default those of XRootD and of EOS's disk servers, for root://",
        ),
    ] = (XROOTD, EOS_DISKS)


def fault(
    networks: Sequence[OpenNetwork], name: str, *, own: Sequence[IPv4Network], machines: Sequence[IPv4Network]
) -> str | None:
    """Why executors of the cluster `name` may not reach these; None: they may.

    Args:
        networks: What the stack file names.
        name: Of the cluster.
        own: Networks of the stack's pods and services.
        machines: Of its machines, as far as they are known.

    >>> wide = OpenNetwork(network=IPv4Network("10.0.0.0/8"))
    >>> fault([wide], "here", own=[IPv4Network("10.96.0.0/16")], machines=[])
    'spark.clusters.here.executors.open_networks has 10.0.0.0/8, and the stack itself is there (10.96.0.0/16); name \
where data is only'
    """
    for one in networks:
        if met := [other for other in (*own, *machines) if other.overlaps(one.network)]:
            return (
                f"spark.clusters.{name}.executors.open_networks has {one.network}, and the stack itself is there "
                f"({met[0]}); name where data is only"
            )
    return None


def policy(pods: Mapping[str, str], networks: Sequence[OpenNetwork]) -> dict[str, Any]:
    """Lets pods with these labels go there, besides what others let them. The hub writes the same for what it makes."""
    rules = [
        {"to": [{"ipBlock": {"cidr": str(one.network)}}], "ports": [tcp(port) for port in one.ports]}
        for one in networks
    ]
    return {"podSelector": {"matchLabels": dict(pods)}, "policyTypes": ["Egress"], "egress": rules}


def told(networks: Sequence[OpenNetwork]) -> list[dict[str, Any]]:
    """The same for the hub, and for whoever reads a stack's outputs."""
    return [{"network": str(one.network), "ports": list(one.ports)} for one in networks]


def ways(clusters: Mapping[str, Sequence[OpenNetwork]]) -> Iterator[str]:
    """Each port of each network of all clusters, as an admission policy asks for it.

    >>> list(ways({"here": [OpenNetwork(network=IPv4Network("192.0.2.7/32"), ports=(443, 9000))]}))
    ['192.0.2.7/32 443', '192.0.2.7/32 9000']
    """
    for networks in clusters.values():
        for one in networks:
            yield from (f"{one.network} {port}" for port in one.ports)

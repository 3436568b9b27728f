"""Clusters of kind `yarn`: what is made for a session that has one, as plain data.

YARN and its HDFS are others', and outside of this cluster. What they start for a driver opens connections to it, and
the driver is in a pod: so a session has a few ports of its node, open to YARN's networks only, and gone with it.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from cygnet_hub.clusters import CLUSTER, USERNAME, Manifest, Owner, YarnCluster, tcp
from cygnet_hub.drivers import DRIVERS_OUTSIDE, files

NODE_PORTS = (30000, 32767)
"""Of which Kubernetes gives: its own default; the stack opens these in clouds."""
PORTS = 2 * DRIVERS_OUTSIDE
"""How many a session has: of its drivers, and then of what these hand out."""


def made(cluster: YarnCluster, owner: Owner, port: int) -> list[list[Manifest]]:
    """All that is made for a session whose ports are there: one step.

    Args:
        cluster: Which one.
        owner: Of whose session.
        port: The first of the session's ports.
    """
    told = {**files(cluster, owner, port=port), **{f"{name}.xml": xml(of) for name, of in cluster.hadoop.items()}}
    return [
        [
            ("NetworkPolicy", {"metadata": owner.beside_session, "spec": driver_policy(cluster, owner, port)}),
            ("Secret", {"metadata": owner.beside_session, "stringData": told}),
        ]
    ]


def service(cluster: YarnCluster, owner: Owner, port: int) -> Manifest:
    """The session's ports, of the node on which it is: no other node takes them, so who comes keeps its address."""
    ports = [{"name": f"p{one}", "port": one, "targetPort": one, "nodePort": one} for one in range(port, port + PORTS)]
    spec = {
        "type": "NodePort",
        "externalTrafficPolicy": "Local",
        "publishNotReadyAddresses": True,
        "selector": {USERNAME: owner.slug, CLUSTER: cluster.name},
        "ports": ports,
    }
    return ("Service", {"metadata": owner.beside_session, "spec": spec})


def free(taken: Collection[int]) -> Iterator[int]:
    """Where a session may have its ports, each time in another order: two that start at once seldom want the same.

    >>> everything = set(range(*NODE_PORTS)) - set(range(30008, 30016))
    >>> list(free(everything))
    [30008]
    """
    first, last = NODE_PORTS
    places = [port for port in range(first, last - PORTS + 2, PORTS) if not set(range(port, port + PORTS)) & {*taken}]
    random.shuffle(places)
    yield from places


def driver_policy(cluster: YarnCluster, owner: Owner, port: int) -> dict[str, Any]:
    """What a session may beyond what all may: YARN's and HDFS's machines, and these its drivers."""
    machines = [{"ipBlock": {"cidr": network}} for network in cluster.networks]
    return {
        "podSelector": {"matchLabels": {USERNAME: owner.slug, CLUSTER: cluster.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": machines, "ports": [tcp(port, PORTS)]}],
        "egress": [{"to": machines, "ports": [{"protocol": "TCP"}]}],
    }


def xml(properties: Mapping[str, str]) -> str:
    """A file of Hadoop's.

    >>> xml({"fs.defaultFS": "hdfs://lab"}).splitlines()[1]
    '<property><name>fs.defaultFS</name><value>hdfs://lab</value></property>'
    """
    lines = [
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>"
        for name, value in properties.items()
    ]
    return "\n".join(["<configuration>", *lines, "</configuration>", ""])

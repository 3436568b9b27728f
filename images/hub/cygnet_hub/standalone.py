"""Clusters of kind `standalone`: what is made for a session that has one, as plain data.

Its daemons, which start executors, are the stack's (components/spark_standalone.py). They and all drivers know one
another by one secret, so whoever has it is trusted by all who have it: such a cluster is for a group. A session has
that secret, and a way to the cluster and back, as long as it lasts.
"""

from __future__ import annotations

from typing import Any

from cygnet_hub.clusters import (
    CLUSTER,
    USERNAME,
    Manifest,
    Owner,
    SparkSettings,
    StandaloneCluster,
    in_namespace,
    opened,
    tcp,
)
from cygnet_hub.drivers import DRIVER_PORTS, EXECUTOR_PORT, PORTS, files

NAMESPACE = "spark"
"""Where the daemons are."""
MASTER_PORT = 7077


def made(cluster: StandaloneCluster, owner: Owner, settings: SparkSettings, secret: str) -> list[list[Manifest]]:
    """All that is made for a session: one step."""
    # Where a driver sees whether its Spark is that of the daemons.
    told = {**files(cluster, owner, secret), "daemons": settings.view}
    return [
        [
            ("NetworkPolicy", {"metadata": owner.beside_session, "spec": driver_policy(cluster, owner)}),
            ("Secret", {"metadata": owner.beside_session, "stringData": told}),
        ]
    ]


def driver_policy(cluster: StandaloneCluster, owner: Owner) -> dict[str, Any]:
    """What a session may beyond what all may: master, executors, and where these may go; and these their driver."""
    daemons = {**in_namespace(NAMESPACE), "podSelector": {"matchLabels": {CLUSTER: cluster.name}}}
    return {
        "podSelector": {"matchLabels": {USERNAME: owner.slug, CLUSTER: cluster.name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [daemons], "ports": [tcp(*ports) for ports in DRIVER_PORTS]}],
        "egress": [
            {"to": [daemons], "ports": [tcp(MASTER_PORT), tcp(EXECUTOR_PORT, PORTS)]},
            *opened(cluster.open_networks),
        ],
    }

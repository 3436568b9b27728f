"""Clusters for Spark: what the hub is told of them, and of whose session executors are."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from cygnet_hub.model import Choice, Model

NONE = "none"
"""The choice of no cluster."""
OPTION = "spark"
"""How the start page calls the choice."""
OWNER = "cygnet.io/owner"
"""The label of all that is made for a session: of whose it is."""
CLUSTER = "cygnet.io/spark"
"""The label of a session that has a cluster."""
USERNAME = "hub.jupyter.org/username"
"""The spawner's own label of a session."""
PREFIX = "spark-"
"""With what the names begin of what is made for a session."""

Manifest = tuple[str, dict[str, Any]]
"""A kind of Kubernetes' objects, and one of them."""


class Cluster(Choice):
    """A choice on the page on which a session is started."""

    kind: str
    """Who starts executors."""
    max: int = Field(ge=1)
    """Executors of one user."""
    cores: int = Field(ge=1)
    """Of an executor: so many tasks run in it at once."""
    memory_gib: float = Field(ge=1)
    """Of an executor, with all that it runs."""
    history_days: int | None = Field(default=None, ge=1)
    """How long what drivers did is kept in the home; none: not at all."""
    bundles: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Settings of Spark that users may add in SparkConnector, by title."""


class OpenNetwork(Model):
    """Where executors may go besides one another and their driver."""

    network: str
    """In CIDR notation."""
    ports: tuple[int, ...] = Field(min_length=1)
    """TCP."""


class KubernetesCluster(Cluster):
    """Executors are pods, in a namespace that is made for the session."""

    kind: Literal["kubernetes"]
    open_networks: tuple[OpenNetwork, ...] = ()
    cores_guaranteed: float = Field(gt=0)
    """Of an executor: kept free on the machine."""


class StandaloneCluster(Cluster):
    """Executors are processes of workers, which the stack runs."""

    kind: Literal["standalone"]
    open_networks: tuple[OpenNetwork, ...] = ()
    master: str = Field(pattern=r"^spark://[a-z0-9.-]+:\d+$")
    """Where drivers ask for executors."""


class YarnCluster(Cluster):
    """Executors are containers of a YARN that is there already, on machines outside of this cluster."""

    kind: Literal["yarn"]
    hadoop: dict[str, dict[str, str]] = Field(min_length=1)
    """What a client of it is told: properties, by the file that has them (core-site, hdfs-site, yarn-site)."""
    networks: tuple[str, ...] = Field(min_length=1)
    """Where its machines are, and those of its HDFS, in CIDR notation."""
    queue: str
    """Of YARN's scheduler."""
    history_server: str | None = None
    """HOST:PORT of the site's own for Spark; none: there is none."""
    history_folder: str | None = None
    """What that one reads."""


AnyCluster = Annotated[KubernetesCluster | StandaloneCluster | YarnCluster, Field(discriminator="kind")]


class SparkSettings(Model):
    """What all clusters have in common."""

    view: str = Field(pattern=r"^/cvmfs/")
    """Folder that is Spark and its Java: sessions source its setup.sh."""
    api_servers: tuple[str, ...]
    """Addresses of Kubernetes' API, as a network policy sees them."""
    api_port: int


@dataclass(frozen=True)
class Owner:
    """Of whose session executors are, and what they have of it."""

    slug: str
    place: str
    """The name of all that is made for this session, which no other had; also of a namespace, where there is one."""
    sessions: str
    uid: int
    gid: int
    image: str
    home: str
    user: str
    processes: str = ""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> Owner:
        """Of a session's pod, as Kubernetes is told of it."""
        (container,) = pod["spec"]["containers"]
        # A label may have what a name may not, such as dots: the pod's own name has a form that fits.
        name = str(pod["metadata"]["name"]).removeprefix("session-")[:48].rstrip("-")
        variables = {one["name"]: one.get("value", "") for one in container["env"]}
        return cls(
            slug=str(pod["metadata"]["labels"][USERNAME]),
            place=f"{PREFIX}{name}-{secrets.token_hex(3)}",
            sessions=pod["metadata"]["namespace"],
            uid=container["securityContext"]["runAsUser"],
            gid=container["securityContext"]["runAsGroup"],
            image=container["image"],
            home=variables["HOME"],
            user=variables["USER"],
            processes=variables.get("CYGNET_PROCESSES", ""),
        )

    @property
    def beside_session(self) -> dict[str, Any]:
        """Metadata of what is made where sessions are."""
        return {"name": self.place, "namespace": self.sessions, "labels": {OWNER: self.slug}}


def given(pod: Any, cluster: Cluster, owner: Owner, settings: SparkSettings, told: str) -> Any:
    """The session's pod with what its user's Spark is told, which is a Secret of that session, in the folder `told`."""
    pod.metadata.labels[CLUSTER] = cluster.name
    container = pod.spec.containers[0]
    if isinstance(cluster, YarnCluster):
        # Where a driver is reached from outside: known when Kubernetes has chosen the machine.
        there = {"fieldRef": {"fieldPath": "status.hostIP"}}
        container.env.append({"name": "CYGNET_NODE", "valueFrom": there})
    # The last one is SparkConnector's own, for what it shows.
    variables = {"CYGNET_SPARK": settings.view, "CYGNET_CLUSTER": told, "SPARK_CLUSTER_NAME": cluster.name}
    for name, value in variables.items():
        container.env.append({"name": name, "value": value})
    pod.spec.volumes.append({"name": "spark", "secret": {"secretName": owner.place, "defaultMode": 0o440}})
    container.volume_mounts.append({"name": "spark", "mountPath": told, "readOnly": True})
    return pod


def tcp(port: int, count: int = 1) -> dict[str, Any]:
    """Ports from this one on, as a network policy names them."""
    return {"protocol": "TCP", "port": port, **({"endPort": port + count - 1} if count > 1 else {})}


def opened(networks: Sequence[OpenNetwork]) -> list[dict[str, Any]]:
    """Rules by which somebody may go there, likewise: drivers, too, as they look at data first."""
    return [
        {"to": [{"ipBlock": {"cidr": one.network}}], "ports": [tcp(port) for port in one.ports]} for one in networks
    ]


def in_namespace(name: str) -> dict[str, Any]:
    """All pods of a namespace, likewise."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}

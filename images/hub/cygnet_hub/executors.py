"""What is made for a session that has a cluster for Spark: Kubernetes' objects, as plain data.

Executors are as the session is: its image, its user's number, its /cvmfs and /eos. They have no token of Kubernetes'
and reach nobody but their driver and one another.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import yaml
from pydantic import Field

from cygnet_hub.drivers import (
    BLOCKS_PORT,
    DRIVER_PORT,
    EXECUTOR_PORT,
    PORTS,
    TOLD,
    bundles,
    defaults,
)
from cygnet_hub.model import Choice, Model

NONE = "none"
"""The choice of no cluster."""
OPTION = "spark"
"""How the start page calls the choice."""
PART, OWNER, UID = "cygnet.io/part", "cygnet.io/owner", "cygnet.io/uid"
"""Labels of a namespace: that it is one of these, of whose session it is, and the number of its user."""
CLUSTER = "cygnet.io/spark"
"""The label of a session that has a cluster."""
PREFIX = "spark-"
"""With what the names of such namespaces begin."""
DRIVER_ROLE = "cygnet-spark-driver"
"""The role that a session has in its namespace; the stack makes it."""
FOLDERS = {"cvmfs": "/cvmfs", "eos": "/eos"}
"""What executors have of their machine, by the names of claims."""
_DISK_GIB = 10
USERNAME = "hub.jupyter.org/username"
_COMMAND = ["tini", "--", "sh", "-c", 'exec "$CYGNET_SPARK/start-executor" "$@"', "sh"]


class Cluster(Choice):
    """A choice on the page on which a session is started."""

    kind: Literal["kubernetes"] = "kubernetes"
    max: int = Field(ge=1)
    """Executors of one user."""
    cores: int = Field(ge=1)
    """Of an executor: so many tasks run in it at once."""
    cores_guaranteed: float = Field(gt=0)
    """Kept free on the machine."""
    memory_gib: float = Field(ge=1)
    """Of an executor, with all that it runs."""
    history_days: int | None = Field(default=None, ge=1)
    """How long what drivers did is kept in the home; none: not at all."""
    bundles: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Settings of Spark that users may add in SparkConnector, by title."""


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
    namespace: str
    sessions: str
    uid: int
    gid: int
    image: str
    home: str
    user: str
    processes: str = ""

    @classmethod
    def of(cls, pod: Mapping[str, Any]) -> Owner:
        """Of a session's pod, as Kubernetes is told of it; with a name for its namespace that no other had."""
        (container,) = pod["spec"]["containers"]
        # A label may have what a name may not, such as dots: the pod's own name has a form that fits.
        name = str(pod["metadata"]["name"]).removeprefix("session-")[:48].rstrip("-")
        variables = {one["name"]: one.get("value", "") for one in container["env"]}
        return cls(
            slug=str(pod["metadata"]["labels"][USERNAME]),
            namespace=f"{PREFIX}{name}-{secrets.token_hex(3)}",
            sessions=pod["metadata"]["namespace"],
            uid=container["securityContext"]["runAsUser"],
            gid=container["securityContext"]["runAsGroup"],
            image=container["image"],
            home=variables["HOME"],
            user=variables["USER"],
            processes=variables.get("CYGNET_PROCESSES", ""),
        )


Manifest = tuple[str, dict[str, Any]]
"""A kind, and the object."""


def made(cluster: Cluster, owner: Owner, settings: SparkSettings, secret: bytes) -> list[list[Manifest]]:
    """All that is made for a session, in steps: what limits a namespace is there before anybody has a right in it."""
    there = {"namespace": owner.namespace, "labels": {OWNER: owner.slug}}
    here = {"name": owner.namespace, "namespace": owner.sessions, "labels": {OWNER: owner.slug}}
    encoded = base64.b64encode(secret).decode()
    files = {
        "spark-defaults.conf": "".join(f"{key} {value}\n" for key, value in defaults(cluster, owner).items()),
        "executor.yaml": yaml.safe_dump(template(owner), sort_keys=False),
        "sparkconnector_bundles.json": json.dumps(bundles(cluster.bundles)),
    }
    subject = {"kind": "ServiceAccount", "name": owner.namespace, "namespace": owner.sessions}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DRIVER_ROLE}
    return [
        [("Namespace", namespace(owner))],
        [
            ("ResourceQuota", {"metadata": {"name": "executors-of-a-user", **there}, "spec": quota(cluster)}),
            ("NetworkPolicy", {"metadata": {"name": "executors", **there}, "spec": executors_policy(owner)}),
            ("NetworkPolicy", {"metadata": here, "spec": driver_policy(owner, settings)}),
            ("Secret", {"metadata": {"name": "spark", **there}, "data": {"secret": encoded}}),
            ("Secret", {"metadata": here, "data": {"secret": encoded}, "stringData": files}),
            ("ServiceAccount", {"metadata": here, "automountServiceAccountToken": False}),
            *volumes(owner),
        ],
        [("RoleBinding", {"metadata": {"name": "driver", **there}, "roleRef": role, "subjects": [subject]})],
    ]


def namespace(owner: Owner) -> dict[str, Any]:
    """The executors' namespace, of which the admission policy reads the user's number."""
    labels = {PART: OPTION, OWNER: owner.slug, UID: str(owner.uid), "pod-security.kubernetes.io/enforce": "restricted"}
    return {"metadata": {"name": owner.namespace, "labels": labels}}


def volumes(owner: Owner) -> list[Manifest]:
    """What executors have of their machine: a pod without privileges may have a claim, and no folder."""
    found: list[Manifest] = []
    for name, folder in FOLDERS.items():
        common = {
            "storageClassName": "",
            "accessModes": ["ReadOnlyMany" if name == "cvmfs" else "ReadWriteMany"],
        }
        volume, labels = f"{owner.namespace}-{name}", {OWNER: owner.slug}
        spec = {
            **common,
            "capacity": {"storage": "1Gi"},  # Kubernetes wants a number, and looks at it no further
            "hostPath": {"path": folder, "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": owner.namespace, "name": name},
        }
        wanted = {**common, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"name": name, "namespace": owner.namespace, "labels": labels}
        found.append(("PersistentVolume", {"metadata": {"name": volume, "labels": labels}, "spec": spec}))
        found.append(("PersistentVolumeClaim", {"metadata": claim, "spec": wanted}))
    return found


def quota(cluster: Cluster) -> dict[str, Any]:
    """All executors of a user together. That each says its limits, quota and admission policy ask."""
    memory = f"{round(cluster.max * cluster.memory_gib * 1024)}Mi"
    limits = {"limits.cpu": str(cluster.max * cluster.cores), "limits.memory": memory, "requests.memory": memory}
    disk = {"limits.ephemeral-storage": f"{cluster.max * _DISK_GIB}Gi"}
    return {"hard": {"pods": str(cluster.max), **limits, **disk}}


def _tcp(port: int, count: int = 1) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port, **({"endPort": port + count - 1} if count > 1 else {})}


_DRIVER_PORTS = [_tcp(DRIVER_PORT, PORTS), _tcp(BLOCKS_PORT, PORTS)]
_DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}


def _in(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def executors_policy(owner: Owner) -> dict[str, Any]:
    """Executors talk to one another and to their driver, and to nobody else."""
    session = {**_in(owner.sessions), "podSelector": {"matchLabels": {USERNAME: owner.slug}}}
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, session], "ports": [_tcp(EXECUTOR_PORT)]}],
        "egress": [
            _DNS,
            {"to": [{"podSelector": {}}], "ports": [_tcp(EXECUTOR_PORT)]},
            {"to": [session], "ports": _DRIVER_PORTS},
        ],
    }


def driver_policy(owner: Owner, settings: SparkSettings) -> dict[str, Any]:
    """What a session may beyond what all may: its executors, and Kubernetes' API."""
    api = [{"ipBlock": {"cidr": f"{address}/32"}} for address in settings.api_servers]
    return {
        "podSelector": {
            "matchLabels": {USERNAME: owner.slug},
            "matchExpressions": [{"key": CLUSTER, "operator": "Exists"}],
        },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_in(owner.namespace)], "ports": _DRIVER_PORTS}],
        "egress": [
            {"to": [_in(owner.namespace)], "ports": [_tcp(EXECUTOR_PORT)]},
            {"to": api, "ports": [_tcp(settings.api_port)]},
        ],
    }


def template(owner: Owner) -> dict[str, Any]:
    """What Spark makes executors of: as a session is, without its page, its token and its ways to the outside."""
    folders = {"tmp": "/tmp", "passwd": "/var/lib/extrausers"}  # noqa: S108 - the pod's own
    variables = {"HOME": owner.home, "USER": owner.user, "CYGNET_PROCESSES": owner.processes}
    claims = [
        {"name": name, "persistentVolumeClaim": {"claimName": name, "readOnly": name == "cvmfs"}} for name in FOLDERS
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 5,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": owner.uid,
                "runAsGroup": owner.gid,
                "fsGroup": owner.gid,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "executor",
                    "command": _COMMAND,
                    "env": [{"name": name, "value": value} for name, value in variables.items() if value],
                    "resources": {"limits": {"ephemeral-storage": f"{_DISK_GIB}Gi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    # Where only root could write to it, as of sessions: there is no limit for it.
                    "terminationMessagePath": "/root/termination-log",
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": [
                        *({"name": name, "mountPath": path} for name, path in folders.items()),
                        {
                            "name": "cvmfs",
                            "mountPath": "/cvmfs",
                            "readOnly": True,
                            "mountPropagation": "HostToContainer",
                        },
                        {"name": "eos", "mountPath": "/eos", "mountPropagation": "HostToContainer"},
                        {"name": "secret", "mountPath": TOLD, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {"name": "passwd", "emptyDir": {"sizeLimit": "1Mi"}},
                {"name": "secret", "secret": {"secretName": "spark", "defaultMode": 0o440}},
                *claims,
            ],
        },
    }


def given(pod: Any, cluster: Cluster, owner: Owner, settings: SparkSettings) -> Any:
    """The session's pod with its cluster: the account that may make executors, and what its user's Spark is told."""
    pod.metadata.labels[CLUSTER] = cluster.name
    pod.spec.service_account_name = owner.namespace
    pod.spec.automount_service_account_token = True
    container = pod.spec.containers[0]
    # The last one is SparkConnector's own, for what it shows.
    variables = {"CYGNET_SPARK": settings.view, "CYGNET_CLUSTER": TOLD, "SPARK_CLUSTER_NAME": cluster.name}
    for name, value in variables.items():
        container.env.append({"name": name, "value": value})
    pod.spec.volumes.append({"name": "spark", "secret": {"secretName": owner.namespace, "defaultMode": 0o440}})
    container.volume_mounts.append({"name": "spark", "mountPath": TOLD, "readOnly": True})
    return pod

"""Clusters of kind `kubernetes`: what is made for a session that has one, as plain data.

Executors are as the session is: its image, its user's number, its /cvmfs and /eos. They have no token of Kubernetes'
and reach nobody but their driver and one another, and networks that the stack names for their cluster.
"""

from __future__ import annotations

import base64
from typing import Any

import yaml

from cygnet_hub.clusters import (
    CLUSTER,
    OPTION,
    OWNER,
    USERNAME,
    KubernetesCluster,
    Manifest,
    Owner,
    SparkSettings,
    in_namespace,
    opened,
    tcp,
)
from cygnet_hub.drivers import DRIVER_PORTS, EXECUTOR_PORT, TOLD, files

PART, UID = "cygnet.io/part", "cygnet.io/uid"
"""Labels of a namespace: that it is one of these, and the number of its user; of whose session it is says OWNER."""
DRIVER_ROLE = "cygnet-spark-driver"
"""The role that a session has in its namespace; the stack makes it."""
FOLDERS = {"cvmfs": "/cvmfs", "eos": "/eos"}
"""What executors have of their machine, by the names of claims."""
_DISK_GIB = 10
_SILENT_SECONDS = 10
"""So long after Kubernetes took a machine for lost its executors are; Kubernetes' own choice is five minutes."""
_COMMAND = ["tini", "--", "sh", "-c", 'exec "$CYGNET_SPARK/start-executor" "$@"', "sh"]


def made(cluster: KubernetesCluster, owner: Owner, settings: SparkSettings, secret: bytes) -> list[list[Manifest]]:
    """All that is made for a session, in steps: what limits a namespace is there before anybody has a right in it."""
    there, here = {"namespace": owner.place, "labels": {OWNER: owner.slug}}, owner.beside_session
    encoded = base64.b64encode(secret).decode()
    told = {**files(cluster, owner), "executor.yaml": yaml.safe_dump(template(owner), sort_keys=False)}
    subject = {"kind": "ServiceAccount", "name": owner.place, "namespace": owner.sessions}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": DRIVER_ROLE}
    return [
        [("Namespace", namespace(owner))],
        [
            ("ResourceQuota", {"metadata": {"name": "executors-of-a-user", **there}, "spec": quota(cluster)}),
            ("NetworkPolicy", {"metadata": {"name": "executors", **there}, "spec": executors_policy(cluster, owner)}),
            ("NetworkPolicy", {"metadata": here, "spec": driver_policy(cluster, owner, settings)}),
            ("Secret", {"metadata": {"name": "spark", **there}, "data": {"secret": encoded}}),
            ("Secret", {"metadata": here, "data": {"secret": encoded}, "stringData": told}),
            ("ServiceAccount", {"metadata": here, "automountServiceAccountToken": False}),
            *volumes(owner),
        ],
        [("RoleBinding", {"metadata": {"name": "driver", **there}, "roleRef": role, "subjects": [subject]})],
    ]


def namespace(owner: Owner) -> dict[str, Any]:
    """The executors' namespace, of which the admission policy reads the user's number."""
    labels = {PART: OPTION, OWNER: owner.slug, UID: str(owner.uid), "pod-security.kubernetes.io/enforce": "restricted"}
    return {"metadata": {"name": owner.place, "labels": labels}}


def volumes(owner: Owner) -> list[Manifest]:
    """What executors have of their machine: a pod without privileges may have a claim, and no folder."""
    found: list[Manifest] = []
    for name, folder in FOLDERS.items():
        common = {
            "storageClassName": "",
            "accessModes": ["ReadOnlyMany" if name == "cvmfs" else "ReadWriteMany"],
        }
        volume, labels = f"{owner.place}-{name}", {OWNER: owner.slug}
        spec = {
            **common,
            "capacity": {"storage": "1Gi"},  # Kubernetes wants a number, and looks at it no further
            "hostPath": {"path": folder, "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": owner.place, "name": name},
        }
        wanted = {**common, "volumeName": volume, "resources": {"requests": {"storage": "1Gi"}}}
        claim = {"name": name, "namespace": owner.place, "labels": labels}
        found.append(("PersistentVolume", {"metadata": {"name": volume, "labels": labels}, "spec": spec}))
        found.append(("PersistentVolumeClaim", {"metadata": claim, "spec": wanted}))
    return found


def quota(cluster: KubernetesCluster) -> dict[str, Any]:
    """All executors of a user together. That each says its limits, quota and admission policy ask."""
    memory = f"{round(cluster.max * cluster.memory_gib * 1024)}Mi"
    limits = {"limits.cpu": str(cluster.max * cluster.cores), "limits.memory": memory, "requests.memory": memory}
    disk = {"limits.ephemeral-storage": f"{cluster.max * _DISK_GIB}Gi"}
    return {"hard": {"pods": str(cluster.max), **limits, **disk}}


_DRIVER_PORTS = [tcp(*ports) for ports in DRIVER_PORTS]
_DNS = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}


def executors_policy(cluster: KubernetesCluster, owner: Owner) -> dict[str, Any]:
    """Executors talk to one another, to their driver and to networks of their cluster, and to nobody else."""
    session = {**in_namespace(owner.sessions), "podSelector": {"matchLabels": {USERNAME: owner.slug}}}
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}, session], "ports": [tcp(EXECUTOR_PORT)]}],
        "egress": [
            _DNS,
            {"to": [{"podSelector": {}}], "ports": [tcp(EXECUTOR_PORT)]},
            {"to": [session], "ports": _DRIVER_PORTS},
            *opened(cluster.open_networks),
        ],
    }


def driver_policy(cluster: KubernetesCluster, owner: Owner, settings: SparkSettings) -> dict[str, Any]:
    """What a session may beyond what all may: its executors, where these may go, and Kubernetes' API."""
    api = [{"ipBlock": {"cidr": f"{address}/32"}} for address in settings.api_servers]
    return {
        "podSelector": {
            "matchLabels": {USERNAME: owner.slug},
            "matchExpressions": [{"key": CLUSTER, "operator": "Exists"}],
        },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [in_namespace(owner.place)], "ports": _DRIVER_PORTS}],
        "egress": [
            {"to": [in_namespace(owner.place)], "ports": [tcp(EXECUTOR_PORT)]},
            {"to": api, "ports": [tcp(settings.api_port)]},
            *opened(cluster.open_networks),
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
            "tolerations": [
                {
                    "key": f"node.kubernetes.io/{state}",
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": _SILENT_SECONDS,
                }
                for state in ("not-ready", "unreachable")
            ],
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


def with_rights(pod: Any, owner: Owner) -> Any:
    """The session's pod with the account that may make executors."""
    pod.spec.service_account_name = owner.place
    pod.spec.automount_service_account_token = True
    return pod

"""Pieces of Kubernetes manifests that several parts share, as plain data."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

# What an unprivileged container may do: nothing beyond its own files. Accepted by the pod security level "restricted".
_CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
_POD_SECURITY = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000}

SCRATCH = "/tmp"  # noqa: S108 - the container's own, on an empty volume
"""Where a container whose root is read-only may write."""

UNWELL_TAINT = "cygnet.io/unwell"
"""Of a machine that takes no sessions, because what they need there does not answer; its value names the parts."""

CONTROL_PLANE_LABEL = "node-role.kubernetes.io/control-plane"

NODE_CHANGES: dict[str, Any] = {
    "resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["UPDATE"], "resources": ["nodes"]}]
}
"""What an admission policy looks at that narrows down who may change what of a node."""

NODE_FIELDS = (
    "metadata.?labels", "metadata.?annotations", "metadata.?finalizers", "metadata.?ownerReferences",
    "spec.?unschedulable", "spec.?providerID", "spec.?podCIDR",
)  # fmt: skip
"""All of a node that can be changed, besides its taints, as admission policies name it."""

_SILENT_SECONDS = 10
"""How long a pod that may run elsewhere waits for its machine, after that has counted as dead."""

DNS_EGRESS: dict[str, Any] = {
    "to": [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
    ],
    "ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")],
}
"""The network policy rule that lets pods ask the cluster's DNS."""


_FIVE_MINUTES = {"initialDelaySeconds": 300, "periodSeconds": 30, "failureThreshold": 10}
"""A computer that does too much is slow for minutes, and nothing gets better by starting it all again."""
NO_OTHER: dict[str, Any] = {"timeoutSeconds": 5, "failureThreshold": 1000}
"""For the readiness of a pod that there is one of: while it is slow, nobody else would answer in its place."""


def container(
    name: str,
    image: str,
    *,
    command: Sequence[str] = (),
    args: Sequence[str] = (),
    ports: Mapping[str, int | tuple[int, int]] | None = None,
    mounts: Mapping[str, str] | None = None,
    env: Mapping[str, str | Mapping[str, Any]] | None = None,
    requests: Mapping[str, str],
    limits: Mapping[str, str],
    ready: Mapping[str, Any] | None = None,
    alive: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An unprivileged container.

    Args:
        command: In place of the image's entry point.
        args: For the entry point.
        ports: By name: the container's port, or (container's port, machine's port).
        mounts: Volume name to path; a name "volume/sub" mounts the folder `sub` of that volume.
        env: A value, or a `valueFrom` mapping.
        requests: What is kept for it, e.g. {"cpu": "50m", "memory": "64Mi"}.
        limits: What it may not exceed.
        ready: Its readiness probe.
        alive: What answers as long as it does not hang; after five minutes without an answer it is started again.
    """
    return {
        "name": name,
        "image": image,
        **({"command": list(command)} if command else {}),
        "args": list(args),
        "ports": [_port(port_name, port) for port_name, port in (ports or {}).items()],
        "env": [_variable(key, value) for key, value in (env or {}).items()],
        "volumeMounts": [_mount(volume, path) for volume, path in (mounts or {}).items()],
        "resources": {"requests": dict(requests), "limits": dict(limits)},
        "securityContext": dict(_CONTAINER_SECURITY),
        **({"readinessProbe": dict(ready)} if ready else {}),
        **({"livenessProbe": {**alive, "timeoutSeconds": 10, **_FIVE_MINUTES}} if alive else {}),
    }


def pod_template(
    labels: Mapping[str, str],
    *containers: Mapping[str, Any],
    before: Sequence[Mapping[str, Any]] = (),
    volumes: Mapping[str, Mapping[str, Any]] | None = None,
    annotations: Mapping[str, str] | None = None,
    service_account: str | None = None,
    on_control_plane: bool = False,
    node: str | None = None,
    tolerated: Sequence[str] = (),
) -> dict[str, Any]:
    """A pod of unprivileged containers; it knows the API server only with a `service_account`.

    Those in `before` start first.

    Where it runs: anywhere, on a machine of the control plane, or on the one `node`; also where taints `tolerated` are.
    """
    # The service's own pods need none of what a machine may be unwell of.
    tolerated = [UNWELL_TAINT, *([CONTROL_PLANE_LABEL] if on_control_plane else []), *tolerated]
    label = {"kubernetes.io/hostname": node} if node else {CONTROL_PLANE_LABEL: ""} if on_control_plane else {}
    # Kubernetes' own choice is five minutes. Where there is no other machine, the cluster is as dead as this one.
    silent = [] if node else [f"node.kubernetes.io/{state}" for state in ("not-ready", "unreachable")]
    return {
        "metadata": {"labels": dict(labels), "annotations": dict(annotations or {})},
        "spec": {
            "automountServiceAccountToken": service_account is not None,
            **({"serviceAccountName": service_account} if service_account else {}),
            "enableServiceLinks": False,
            "securityContext": dict(_POD_SECURITY),
            **({"initContainers": [dict(one) for one in before]} if before else {}),
            "containers": [dict(one) for one in containers],
            "volumes": [{"name": name, **volume} for name, volume in (volumes or {}).items()],
            "tolerations": [
                *({"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in tolerated),
                *(
                    {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _SILENT_SECONDS}
                    for key in silent
                ),
            ],
            **({"nodeSelector": label} if label else {}),
        },
    }


def images_spec(
    name: str, images: Sequence[str], pause: str, *, on_control_plane: bool = False, tolerated: Sequence[str] = ()
) -> dict[str, Any]:
    """A pod on every machine for sessions, or on every control plane, whose only work is to have images pulled.

    Machines for sessions may have taints, which are `tolerated`.
    """
    labels = {"app.kubernetes.io/name": name}
    little, limit = {"cpu": "1m", "memory": "4Mi"}, {"memory": "32Mi"}
    pausing = container("pause", pause, requests=little, limits=limit)
    template = pod_template(labels, pausing, on_control_plane=on_control_plane, tolerated=tolerated)
    template["spec"]["initContainers"] = [
        container(f"pull-{number}", image, command=["true"], requests=little, limits=limit)
        for number, image in enumerate(images, 1)
    ]
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return {
        "selector": {"matchLabels": labels},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        "template": template,
    }


def machines_volume(folder: str, access: str, *, namespace: str, claim: str) -> dict[str, Any]:
    """A folder that every machine has, as a volume for the one claim of that name.

    Args:
        folder: Where it is on machines.
        access: Kubernetes' mode, such as ReadOnlyMany.
        namespace: Of the claim.
        claim: Its name.
    """
    return {
        "storageClassName": "",
        "accessModes": [access],
        "capacity": {"storage": "1Gi"},  # Kubernetes wants a number, and looks at it no further
        "hostPath": {"path": folder, "type": "Directory"},
        "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"namespace": namespace, "name": claim},
    }


def machines_claim(volume: str, access: str) -> dict[str, Any]:
    """The claim of such a volume. A pod without privileges may have a claim, and no folder of its machine."""
    return {
        "storageClassName": "",
        "volumeName": volume,
        "accessModes": [access],
        "resources": {"requests": {"storage": "1Gi"}},
    }


def digest(*contents: pulumi.Input[Any]) -> pulumi.Output[str]:
    """A short digest of settings; as a pod's annotation it makes new settings start a new pod."""
    hashed = pulumi.Output.all(*contents).apply(lambda given: hashlib.sha256(repr(given).encode()).hexdigest()[:16])
    return pulumi.Output.unsecret(hashed)


def _port(name: str, port: int | tuple[int, int]) -> dict[str, Any]:
    if isinstance(port, int):
        return {"name": name, "containerPort": port}
    inside, outside = port
    return {"name": name, "containerPort": inside, "hostPort": outside}


def _variable(name: str, value: str | Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": dict(value)}


def _mount(volume: str, path: str) -> dict[str, Any]:
    name, _, folder = volume.partition("/")
    return {"name": name, "mountPath": path, **({"subPath": folder} if folder else {})}

"""Standalone clusters for Spark: a master and workers of the stack's, for drivers in sessions of one group.

They are pods, so that drivers reach them and are reached, and nobody else does. Their machines may be theirs alone, by
a label and a taint. Spark itself comes from the stack's repository (software/apache-spark/start-daemon): a daemon that
has not what the link there leads to any more is started anew.

Spark knows one secret for such a cluster, and runs everybody's executors as one user. Nothing here makes more of that.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components import spark_networks
from components.cluster import Cluster
from components.kubernetes import DNS_EGRESS, SCRATCH, container, digest, pod_template
from components.policies import SESSIONS_NAMESPACE, in_namespace, labels, tcp
from components.registry import Registry
from components.secrets import Token
from components.sign_in.user_ids import user_id
from components.spark_config import EXECUTOR_PORTS, StandaloneConfig
from components.spark_networks import OpenNetwork
from components.storage import Storage

NAMESPACE: Final = "spark"
MASTER_PORT: Final = 7077
WORKER_PORT: Final = 7078
PAGE_PORT: Final = 8080
"""Of a master's and a worker's own pages, which nobody is let to: who has reached one sees all that the group does."""
CLUSTER_LABEL: Final = "cygnet.io/spark"
"""Of daemons, and of sessions that have this cluster; the hub says the same."""
DRIVER_PORTS: Final = ((40000, 16), (40100, 16))
"""The first, and how many: of drivers, and of what they hand out; likewise."""
HEAP: Final = 0.6
"""Which part of an executor's memory is Java's; likewise."""
_DAEMON_GIB: Final = 0.5
_GROUP: Final = 100
_TOLD: Final = "/etc/cygnet/spark"
_STATE: Final = "/srv/spark"
_NOBODYS: Final = 1000
"""The number of daemons, which is no user's."""


def declare(
    clusters: Mapping[str, StandaloneConfig],
    *,
    open_networks: Mapping[str, Sequence[OpenNetwork]],
    cluster: Cluster,
    registry: Registry,
    storage: Storage,
    folders: Mapping[str, pulumi.Output[str] | None],
    view: str,
    parent: pulumi.Resource,
) -> dict[str, pulumi.Output[str]]:
    """Makes them, in a namespace; gives their secrets, by name.

    Args:
        clusters: By name.
        open_networks: Where their executors may go besides, likewise.
        cluster: Where they run.
        registry: Has the image, which is that of sessions.
        storage: Keeps what masters know.
        folders: Where machines have software and homes, by the names `cvmfs` and `eos`.
        view: The folder that is Spark and its Java.
        parent: Of all that is made.
    """
    if not clusters:
        return {}
    inside = cluster.inside(parent)
    namespace = cluster.namespace(NAMESPACE, parent=parent)
    claims = {
        name: cluster.machines_folder(f"standalone-{name}", folder, access, namespace=namespace, parent=parent)
        for name, access in (("cvmfs", "ReadOnlyMany"), ("eos", "ReadWriteMany"))
        if (folder := folders[name]) is not None
    }
    secrets = {}
    for name, config in clusters.items():
        secrets[name] = secret = Token(
            f"spark-{name}", rotates="spark", opts=pulumi.ResourceOptions(parent=parent)
        ).value
        metadata = {"namespace": namespace, "labels": labels("spark")}
        k8s.networking.v1.NetworkPolicy(
            f"spark-{name}", metadata={"name": name, **metadata}, spec=policy(name), opts=inside
        )
        if opened := open_networks.get(name):
            k8s.networking.v1.NetworkPolicy(
                f"spark-{name}-networks",
                metadata={"name": f"{name}-networks", **metadata},
                spec=spark_networks.policy(_labels(name, "worker"), opened),
                opts=inside,
            )
        k8s.core.v1.Service(
            f"spark-{name}",
            metadata={"name": name, **metadata},
            spec={"selector": _labels(name, "master"), "ports": [{"port": MASTER_PORT}]},
            opts=inside,
        )
        told = secret.apply(lambda value: "".join(f"{key} {text}\n" for key, text in daemon_settings(value).items()))
        made = k8s.core.v1.Secret(
            f"spark-{name}", metadata={"name": name, **metadata}, string_data={"daemon.conf": told}, opts=inside
        )
        storage.claim(f"spark-{name}", metadata={"name": name, **metadata}, opts=inside)
        known = pulumi.Output.all(image=registry.image("session"), started_with=digest(made.id, told), claims=claims)
        for what, spec in (("master", master_spec), ("worker", worker_spec)):
            k8s.apps.v1.Deployment(
                f"spark-{name}-{what}",
                metadata={"name": f"{name}-{what}", **metadata},
                spec=known.apply(partial(_called, spec, name, config, view)),
                opts=inside,
            )
    return secrets


def master(name: str) -> str:
    """Where drivers and workers find the master of a cluster.

    >>> master("team")
    'spark://team.spark.svc:7077'
    """
    return f"spark://{name}.{NAMESPACE}.svc:{MASTER_PORT}"


def daemon_settings(secret: str) -> dict[str, Any]:
    """Spark's settings for master and workers."""
    return {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secret,
        "spark.network.crypto.enabled": "true",
        "spark.network.crypto.saslFallback": "false",
        # A master that was started anew goes on: workers and drivers register with it by themselves.
        "spark.deploy.recoveryMode": "FILESYSTEM",
        "spark.deploy.recoveryDirectory": _STATE,
        "spark.worker.timeout": 30,
        # Drivers are in sessions, and nothing else is started.
        "spark.master.rest.enabled": "false",
        "spark.ui.killEnabled": "false",
        # What executors of the past have left on the disk.
        "spark.worker.cleanup.enabled": "true",
        "spark.worker.cleanup.interval": 600,
        "spark.worker.cleanup.appDataTtl": 3600,
    }


def master_arguments() -> list[str]:
    """What start-daemon is told for a master."""
    return ["master", "--port", str(MASTER_PORT), "--webui-port", str(PAGE_PORT)]


def worker_arguments(config: StandaloneConfig, master_url: str) -> list[str]:
    """Likewise, for a worker. Of its memory it gives out what Java may have; the rest is for Python."""
    # A MiB more for each executor, whose own size was rounded: as many are to fit as they do by GiB.
    heap = round(config.memory_gib * 1024 * HEAP) + EXECUTOR_PORTS[1]
    given = {"port": WORKER_PORT, "webui-port": PAGE_PORT, "cores": config.cores, "memory": f"{heap}m"}
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return ["worker", *words, "--work-dir", f"{SCRATCH}/work", master_url]


def policy(name: str) -> dict[str, Any]:
    """Daemons and executors of a cluster talk to one another, and to drivers of sessions that have it."""
    own = {"podSelector": {"matchLabels": {CLUSTER_LABEL: name}}}
    sessions = {**in_namespace(SESSIONS_NAMESPACE), **own}
    return {
        "podSelector": {"matchLabels": {CLUSTER_LABEL: name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [own], "ports": [tcp(MASTER_PORT), tcp(WORKER_PORT), tcp(*EXECUTOR_PORTS)]},
            {"from": [sessions], "ports": [tcp(MASTER_PORT), tcp(*EXECUTOR_PORTS)]},
        ],
        "egress": [
            DNS_EGRESS,
            {"to": [own], "ports": [tcp(MASTER_PORT), tcp(WORKER_PORT), tcp(*EXECUTOR_PORTS)]},
            {"to": [sessions], "ports": [tcp(*ports) for ports in DRIVER_PORTS]},
        ],
    }


def master_spec(
    name: str, config: StandaloneConfig, *, image: str, started_with: str, claims: Mapping[str, str], view: str
) -> dict[str, Any]:
    """One master: Kubernetes starts it anew when it ends, and elsewhere when its machine is lost."""
    daemon = _daemon(
        image,
        view,
        master_arguments(),
        port=MASTER_PORT,
        mounts={"state": _STATE},
        cores=0.1,
        gib=_DAEMON_GIB,
    )
    volumes = {**_volumes(name, {"cvmfs": claims["cvmfs"]}), "state": {"persistentVolumeClaim": {"claimName": name}}}
    template = pod_template(
        _labels(name, "master"), daemon, annotations={"cygnet.io/settings": started_with}, volumes=volumes
    )
    template["spec"]["securityContext"] = _as(_NOBODYS)
    _on_machines(template["spec"], config)
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two would both think that they are the one
        "selector": {"matchLabels": _labels(name, "master")},
        "template": template,
    }


def worker_spec(
    name: str, config: StandaloneConfig, *, image: str, started_with: str, claims: Mapping[str, str], view: str
) -> dict[str, Any]:
    """The workers, as one Deployment."""
    folders = {"cvmfs": "/cvmfs", **({"eos": "/eos"} if config.account else {})}
    daemon = _daemon(
        image,
        view,
        worker_arguments(config, master(name)),
        port=WORKER_PORT,
        mounts={"eos": "/eos"} if config.account else {},
        cores=config.cores,
        gib=config.memory_gib + _DAEMON_GIB,
        disk_gib=config.disk_gib,
    )
    template = pod_template(
        _labels(name, "worker"),
        daemon,
        annotations={"cygnet.io/settings": started_with},
        volumes=_volumes(name, {folder: claims[folder] for folder in folders}),
    )
    template["spec"] |= {
        "securityContext": _as(user_id(config.account) if config.account else _NOBODYS),
        "terminationGracePeriodSeconds": 5,
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _labels(name, "worker")},
            }
        ],
    }
    _on_machines(template["spec"], config)
    return {
        "replicas": config.workers,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
        "selector": {"matchLabels": _labels(name, "worker")},
        "template": template,
    }


def _called(
    spec: Callable[..., dict[str, Any]], name: str, config: StandaloneConfig, view: str, known: Mapping[str, Any]
) -> dict[str, Any]:
    return spec(name, config, view=view, **known)


def _labels(name: str, what: str) -> dict[str, str]:
    return {**labels(f"spark-{what}"), CLUSTER_LABEL: name}


def _as(number: int) -> dict[str, Any]:
    return {"runAsUser": number, "runAsGroup": _GROUP, "fsGroup": _GROUP, "fsGroupChangePolicy": "OnRootMismatch"}


def _volumes(name: str, claims: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    return {
        "told": {"secret": {"secretName": name, "defaultMode": 0o440}},
        "scratch": {"emptyDir": {}},
        "passwd": {"emptyDir": {"sizeLimit": "1Mi"}},
        **{
            folder: {"persistentVolumeClaim": {"claimName": claim, "readOnly": folder == "cvmfs"}}
            for folder, claim in claims.items()
        },
    }


def _daemon(
    image: str,
    view: str,
    arguments: Sequence[str],
    *,
    port: int,
    mounts: Mapping[str, str],
    cores: float,
    gib: float,
    disk_gib: float = 1,
) -> dict[str, Any]:
    memory = f"{round(gib * 1024)}Mi"
    made = container(
        "daemon",
        image,
        command=["tini", "--", "sh", "-c", 'exec "$CYGNET_SPARK/start-daemon" "$@"', "sh"],
        args=arguments,
        ports={"spark": port},
        env={"CYGNET_SPARK": view, "CYGNET_DAEMON": f"{_TOLD}/daemon.conf"},
        mounts={"told": _TOLD, "scratch": SCRATCH, "passwd": "/var/lib/extrausers", "cvmfs": "/cvmfs", **mounts},
        requests={"cpu": f"{cores / 10:g}", "memory": memory, "ephemeral-storage": "64Mi"},
        limits={"cpu": f"{max(cores, 1):g}", "memory": memory, "ephemeral-storage": f"{round(disk_gib * 1024)}Mi"},
        ready={"tcpSocket": {"port": "spark"}, "periodSeconds": 5},
    )
    same = {"exec": {"command": ["sh", "-c", 'exec "$CYGNET_SPARK/start-daemon" same']}}
    made["livenessProbe"] = {**same, "initialDelaySeconds": 60, "periodSeconds": 20, "timeoutSeconds": 10}
    for mount in made["volumeMounts"]:
        if mount["name"] in ("cvmfs", "eos"):
            mount["mountPropagation"] = "HostToContainer"
    return made


def _on_machines(pod: dict[str, Any], config: StandaloneConfig) -> None:
    """Keeps a pod to the machines that are for it, where the stack has some."""
    if config.machines is None:
        return
    pod["tolerations"].append({"key": config.machines, "operator": "Exists"})
    terms = [{"matchExpressions": [{"key": config.machines, "operator": "Exists"}]}]
    pod["affinity"] = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}

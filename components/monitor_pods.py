"""The monitor's pods, what they may see in the cluster, and who reaches whom: as plain data."""

from collections.abc import Sequence
from typing import Any

from components.kubernetes import DNS_EGRESS, SCRATCH, container, pod_template
from components.policies import HUB_PORT, in_hub, in_monitor, in_namespace, labels, outside, tcp

PREFIX = "/monitor"
"""Below which all addresses of the page are."""
PORT = 9090
ALERTS_PORT = 9093
FIGURES_PORT = 8080
EXPORTER_PORT = 9100
SECRETS = "/etc/cygnet/secrets"
_SETTINGS = "/etc/cygnet"
_DATA = "/var/lib/prometheus"
_MACHINE = "/machine"
_SCRAPER = 65534  # the exporter on machines is nobody there

STATE = (
    "kube_node_info", "kube_node_spec_taint", "kube_node_spec_unschedulable", "kube_node_status_allocatable",
    "kube_node_status_condition", "kube_pod_container_resource_requests",
    "kube_pod_container_status_last_terminated_reason", "kube_pod_status_phase", "kube_pod_status_unschedulable",
    "kube_deployment_spec_replicas", "kube_deployment_status_replicas_available",
    "kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_available",
)  # fmt: skip
"""Of what Kubernetes' objects could tell: what rules and pages ask for. All of it is ten times as much."""

_COLLECTORS = ("cpu", "diskstats", "filesystem", "loadavg", "meminfo", "pressure", "stat", "uname", "vmstat")
# What is mounted on a machine for others to hang at, or is no disk.
_NO_DISKS = (
    "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fuse.*|hugetlbfs|mqueue|nsfs|proc|pstore|"
    "rpc_pipefs|securityfs|sysfs|tmpfs|tracefs"
)

STATE_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list", "watch"]},
    {"apiGroups": ["apps"], "resources": ["deployments", "daemonsets"], "verbs": ["list", "watch"]},
]
"""What kube-state-metrics may see."""


def prometheus_spec(image: str, started_with: str, *, days: int, disk_gib: int, sends: bool) -> dict[str, Any]:
    """One Prometheus, with an Alertmanager beside it where alerts are sent.

    Args:
        image: Of both.
        started_with: A digest of what is read at the start only.
        days: For which figures are kept.
        disk_gib: What they may take, in GiB.
        sends: Whether alerts are sent.
    """
    prometheus = container(
        "prometheus",
        image,
        args=[
            f"--config.file={_SETTINGS}/prometheus.yml",
            f"--storage.tsdb.path={_DATA}",
            f"--storage.tsdb.retention.time={days}d",
            f"--storage.tsdb.retention.size={disk_gib}GiB",
            f"--web.external-url={PREFIX}",
            "--web.console.templates=/etc/prometheus/consoles",
            "--web.console.libraries=/etc/prometheus/console_libraries",
            "--web.page-title=Monitor",
        ],
        ports={"http": PORT},
        mounts={"settings": _SETTINGS, "secrets": SECRETS, "data": _DATA, "scratch": SCRATCH},
        requests={"cpu": "20m", "memory": "128Mi"},
        limits={"memory": "1Gi"},
        ready={"httpGet": {"path": f"{PREFIX}/-/ready", "port": "http"}, "periodSeconds": 2},
    )
    alertmanager = container(
        "alertmanager",
        image,
        command=["/usr/bin/prometheus-alertmanager"],
        args=[
            f"--config.file={SECRETS}/alertmanager.yml",
            f"--storage.path={SCRATCH}",
            "--cluster.listen-address=",  # it is alone
            f"--web.listen-address=127.0.0.1:{ALERTS_PORT}",
        ],
        mounts={"secrets": SECRETS, "alerts": SCRATCH},
        requests={"cpu": "5m", "memory": "24Mi"},
        limits={"memory": "128Mi"},
    )
    template = pod_template(
        labels("prometheus"),
        prometheus,
        *([alertmanager] if sends else []),
        annotations={"cygnet.io/settings": started_with},
        volumes={
            "settings": {"configMap": {"name": "prometheus"}},
            "secrets": {"secret": {"secretName": "prometheus", "defaultMode": 0o440}},
            "data": {"persistentVolumeClaim": {"claimName": "prometheus"}},
            "scratch": {"emptyDir": {}},
            **({"alerts": {"emptyDir": {}}} if sends else {}),
        },
        service_account="prometheus",
        on_control_plane=True,
    )
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two cannot write into one folder
        "selector": {"matchLabels": labels("prometheus")},
        "template": template,
    }


def state_spec(image: str) -> dict[str, Any]:
    """One kube-state-metrics: what Kubernetes' objects say, as figures."""
    state = container(
        "kube-state-metrics",
        image,
        args=[
            f"--port={FIGURES_PORT}",
            "--resources=nodes,pods,deployments,daemonsets",
            f"--metric-allowlist={','.join(STATE)}",
        ],
        ports={"http": FIGURES_PORT},
        requests={"cpu": "5m", "memory": "32Mi"},
        limits={"memory": "512Mi"},
        ready={"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2},
    )
    template = pod_template(
        labels("kube-state-metrics"), state, service_account="kube-state-metrics", on_control_plane=True
    )
    return {"replicas": 1, "selector": {"matchLabels": labels("kube-state-metrics")}, "template": template}


def node_exporter_spec(image: str, machine: str) -> dict[str, Any]:
    """On every machine one that tells of its processors, memory and disks.

    Args:
        image: Of it.
        machine: The claim of a machine's own files.
    """
    exporter = container(
        "node-exporter",
        image,
        args=[
            f"--path.rootfs={_MACHINE}",
            f"--path.procfs={_MACHINE}/proc",
            f"--path.sysfs={_MACHINE}/sys",
            "--collector.disable-defaults",
            *(f"--collector.{name}" for name in _COLLECTORS),
            f"--collector.filesystem.fs-types-exclude=^({_NO_DISKS})$",
            "--collector.filesystem.mount-points-exclude=^/(dev|proc|run|srv/files|sys|var/lib/(containerd|kubelet))($|/)",
            "--web.disable-exporter-metrics",
        ],
        ports={"http": EXPORTER_PORT},
        requests={"cpu": "5m", "memory": "16Mi"},
        limits={"memory": "64Mi"},
        ready={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 5},
    )
    exporter["volumeMounts"] = [
        {"name": "machine", "mountPath": _MACHINE, "readOnly": True, "mountPropagation": "HostToContainer"}
    ]
    template = pod_template(
        labels("node-exporter"),
        exporter,
        volumes={"machine": {"persistentVolumeClaim": {"claimName": machine, "readOnly": True}}},
    )
    template["spec"]["securityContext"] = {"runAsUser": _SCRAPER, "runAsGroup": _SCRAPER}
    template["spec"]["tolerations"] = [{"operator": "Exists"}]  # an unwell machine is looked at most of all
    return {
        "selector": {"matchLabels": labels("node-exporter")},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        "template": template,
    }


def policies(
    api_servers: Sequence[str], api_port: int, inner: Sequence[str], *, sends: bool
) -> dict[str, dict[str, Any]]:
    """Network policies by name: Prometheus alone reaches what gives it figures, and the gateway alone its page.

    Args:
        api_servers: The address of each control plane.
        api_port: TCP, likewise.
        inner: Networks of pods, services and machines, to which no alert is sent.
        sends: Whether alerts are sent.
    """
    api = {"to": [{"ipBlock": {"cidr": f"{address}/32"}} for address in api_servers], "ports": [tcp(api_port)]}
    asked = {"kube-state-metrics": FIGURES_PORT, "node-exporter": EXPORTER_PORT}
    return {
        "all": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        "prometheus": {
            "podSelector": {"matchLabels": labels("prometheus")},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [in_namespace("gateway")], "ports": [tcp(PORT)]}],
            "egress": [
                DNS_EGRESS,
                api,
                {"to": [in_hub("hub")], "ports": [tcp(HUB_PORT)]},
                *({"to": [in_monitor(name)], "ports": [tcp(port)]} for name, port in asked.items()),
                *([outside(inner)] if sends else []),
            ],
        },
        **{
            name: {
                "podSelector": {"matchLabels": labels(name)},
                "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"from": [in_monitor("prometheus")], "ports": [tcp(port)]}],
                "egress": [api] if name == "kube-state-metrics" else [],
            }
            for name, port in asked.items()
        },
    }

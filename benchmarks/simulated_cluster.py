"""A Kubernetes whose nodes and pods are there in its API only, by KWOK; all else of it is real.

etcd, kube-apiserver, kube-controller-manager and kube-scheduler are the programs that clusters have. No kubelet runs,
and no container: what KWOK writes about nodes and pods is all there is of them. A pod is running and ready as soon as
it has a node.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from components.hub_pods import HUB_RULES, NODE_RULES
from components.kubernetes import machines_claim, machines_volume
from components.policies import SESSIONS_NAMESPACE
from engine import tools
from tests.live.waiting import until
from tests.machines.kubernetes_api import ADMINISTRATOR, KubernetesApi

POD_NETWORK: Final = "10.192.0.0/16"
"""Of simulated pods; whoever runs this has it lead to this computer."""
PODS_PER_NODE: Final = 110
"""Kubernetes' own choice."""
HUB_TOKEN: Final = "of-the-hub"  # noqa: S105 - of an API that only this computer reaches
_HUB: Final = "hub"
_NODE: Final = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "1Ti", "pods": str(PODS_PER_NODE)}
_READY: Final = """\
conditions:
{{ range NodeConditions }}
- {type: {{ .type | Quote }}, status: {{ .status | Quote }}, reason: {{ .reason | Quote }}, \
message: {{ .message | Quote }}, lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
- {type: Hostname, address: {{ NodeName | Quote }}}
phase: Running
"""
_RUNNING: Final = """\
{{ $now := Now }}
{{ $addresses := PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace }}
phase: Running
startTime: {{ $now | Quote }}
podIP: {{ index $addresses 0 | Quote }}
podIPs: [{ip: {{ index $addresses 0 | Quote }}}]
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now | Quote }}}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, ready: true, started: true, restartCount: 0, \
state: {running: {startedAt: {{ $now | Quote }}}}}
{{ end }}
"""


def _stage(name: str, kind: str, does: Mapping[str, Any], *when: tuple[str, str, Sequence[str]]) -> dict[str, Any]:
    """What KWOK does to nodes or pods of which all that is said in `when` is true."""
    expressions = [
        {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
        for key, operator, values in when
    ]
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": expressions},
            "next": dict(does),
        },
    }


_DELETED: Final = ".metadata.deletionTimestamp"
STAGES: Final = (
    _stage("node-ready", "Node", {"statusTemplate": _READY}, (".status.phase", "NotIn", ["Running"])),
    _stage(
        "pod-running",
        "Pod",
        {"statusTemplate": _RUNNING},
        (_DELETED, "DoesNotExist", []),
        (".status.phase", "In", ["Pending"]),
    ),
    _stage("pod-gone", "Pod", {"delete": True}, (_DELETED, "Exists", [])),
)
"""All that happens on a simulated node."""


class SimulatedCluster:
    """Runs in `folder`, with so many nodes; the hub has its rights in it, and comes with `HUB_TOKEN`."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self._folder, self._nodes = folder, nodes
        (folder / "kubernetes").mkdir()
        self.api = KubernetesApi(folder / "kubernetes", {HUB_TOKEN: _HUB})
        self.processes: dict[str, int] = {}
        """Ids of its programs."""

    @contextmanager
    def running(self) -> Iterator[None]:
        """It is there, with all nodes ready, as long as the block runs."""
        with ExitStack() as started:
            started.callback(self.api.stop)
            self.api.start()
            self.processes |= self.api.processes
            self._declare()
            for name, argv in self._programs().items():
                process = started.enter_context(_program(argv, self._folder / f"{name}.log"))
                self.processes[name] = process.pid
            until(lambda: self._ready() == self._nodes, f"{self._nodes} nodes are ready", seconds=120)
            # Pods want one.
            until(self._account, "the namespace of sessions has its account", seconds=60, through=AssertionError)
            yield

    def _account(self) -> str:
        return self.api.kubectl("get", "serviceaccount", "default", f"--namespace={SESSIONS_NAMESPACE}")

    def hub_access(self) -> Path:
        """The file with which the hub comes, and has the hub's rights."""
        return self.api.kubeconfig(HUB_TOKEN)

    def _programs(self) -> dict[str, list[str]]:
        here, token = self._folder / "kubernetes", self.api.kubeconfig(ADMINISTRATOR)
        stages = self._folder / "stages.yaml"
        stages.write_text(yaml.safe_dump_all(STAGES))
        return {
            "kube-controller-manager": [
                str(tools.path("kube-controller-manager")), f"--kubeconfig={token}", "--leader-elect=false",
                f"--service-account-private-key-file={here}/server.key", f"--root-ca-file={here}/ca.crt",
                "--bind-address=127.0.0.1",
            ],
            "kube-scheduler": [
                str(tools.path("kube-scheduler")), f"--kubeconfig={token}", "--leader-elect=false",
                "--bind-address=127.0.0.1",
            ],
            "kwok": [
                str(tools.path("kwok")), f"--kubeconfig={token}", f"--config={stages}", "--manage-all-nodes",
                "--node-ip=192.0.2.2",
                "--node-lease-duration-seconds=40", f"--cidr={POD_NETWORK}",
            ],
        }  # fmt: skip

    def _declare(self) -> None:
        """Nodes, the namespace of sessions with its volumes, and what the hub may do there."""
        rights = "rbac.authorization.k8s.io"
        there = {"name": "hub", "namespace": SESSIONS_NAMESPACE}
        subjects = [{"kind": "User", "name": _HUB, "apiGroup": rights}]
        volumes = {"cvmfs": "ReadOnlyMany", "eos": "ReadWriteMany"}
        self.api.apply(
            *({"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"},
               "status": {"capacity": _NODE, "allocatable": _NODE}} for number in range(self._nodes)),
            {"apiVersion": "v1", "kind": "Namespace",
             "metadata": {"name": SESSIONS_NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
            *({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
               "spec": machines_volume(f"/{name}", access, namespace=SESSIONS_NAMESPACE, claim=name)}
              for name, access in volumes.items()),
            *({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
               "metadata": {"name": name, "namespace": SESSIONS_NAMESPACE}, "spec": machines_claim(name, access)}
              for name, access in volumes.items()),
            {"apiVersion": f"{rights}/v1", "kind": "Role", "metadata": there, "rules": HUB_RULES},
            {"apiVersion": f"{rights}/v1", "kind": "RoleBinding", "metadata": there, "subjects": subjects,
             "roleRef": {"apiGroup": rights, "kind": "Role", "name": "hub"}},
            {"apiVersion": f"{rights}/v1", "kind": "ClusterRole", "metadata": {"name": "hub"}, "rules": NODE_RULES},
            {"apiVersion": f"{rights}/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "hub"},
             "subjects": subjects, "roleRef": {"apiGroup": rights, "kind": "ClusterRole", "name": "hub"}},
        )  # fmt: skip

    def _ready(self) -> int:
        conditions = self.api.kubectl(
            "get", "nodes", '--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
        )
        return conditions.split().count("True")


@contextmanager
def _program(argv: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as output, subprocess.Popen(argv, stdout=output, stderr=output) as process:
        try:
            yield process
        finally:
            process.kill()

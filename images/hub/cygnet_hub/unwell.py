"""Machines that take no sessions because something there does not answer, and what is said of them.

Each machine looks after what sessions need of it, and taints its node while that does not answer. Kubernetes tells who
waits for a machine that there are taints, and not which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TAINT = "cygnet.io/unwell"
CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane"
# The parts that the taint's value names, in the words of those who use them.
THINGS = {"cvmfs": "the software repository", "eos": "the files of users"}


def is_unplaced(pod: Mapping[str, Any]) -> bool:
    """Whether Kubernetes looked for a machine for a pod, and found none.

    >>> is_unplaced({"status": {"conditions": [{"type": "PodScheduled", "reason": "Unschedulable"}]}})
    True
    """
    conditions = pod.get("status", {}).get("conditions") or []
    return any(one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable" for one in conditions)


def words(nodes: Iterable[Mapping[str, Any]]) -> str:
    """What is the matter with the machines for sessions, of all nodes; nothing when they are well.

    >>> sick = {"spec": {"taints": [{"key": TAINT, "value": "cvmfs"}]}}
    >>> words([{"spec": {}}, sick])
    'no answer from the software repository on 1 of 2 machines'
    """
    taints = [{taint["key"]: taint.get("value", "") for taint in node["spec"].get("taints") or []} for node in nodes]
    takers = [one for one in taints if CONTROL_PLANE_TAINT not in one]
    causes = [one[TAINT] for one in takers if TAINT in one]
    if not causes:
        return ""
    things = sorted({THINGS.get(part, "what sessions need") for cause in causes for part in cause.split(".")})
    return f"no answer from {' and '.join(things)} on {len(causes)} of {len(takers)} machines"

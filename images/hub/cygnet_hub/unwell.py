"""Machines that take no sessions because something there does not answer, and what is said of them.

Each machine looks after what sessions need of it, and taints its node while that does not answer. Kubernetes tells who
waits for a machine that there are taints, and not which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

TAINT = "cygnet.io/unwell"
IMAGE_LABEL = "cygnet.io/session-image"
"""Of nodes on whose machines the image of sessions is, where sessions want it: its value is the image's tag."""
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


def words(nodes: Iterable[Mapping[str, Any]], image: str = "") -> str:
    """What is the matter with the machines for sessions, of all nodes; nothing when they are well.

    Args:
        nodes: As Kubernetes tells them.
        image: The tag of the image that sessions want there; none: any.

    >>> sick = {"spec": {"taints": [{"key": TAINT, "value": "cvmfs"}]}}
    >>> words([{"spec": {}}, sick])
    'no answer from the software repository on 1 of 2 machines'
    """
    takers = [node for node in nodes if CONTROL_PLANE_TAINT not in _taints(node)]
    causes = [_taints(node)[TAINT] for node in takers if TAINT in _taints(node)]
    things = sorted({THINGS.get(part, "what sessions need") for cause in causes for part in cause.split(".")})
    said = [f"no answer from {' and '.join(things)} on {len(causes)} of {len(takers)} machines"] if causes else []
    without = [node for node in takers if image and node["metadata"].get("labels", {}).get(IMAGE_LABEL) != image]
    if without:
        said.append(f"their image is not there yet on {len(without)} of {len(takers)} machines")
    return ", and ".join(said)


def _taints(node: Mapping[str, Any]) -> dict[str, str]:
    return {taint["key"]: taint.get("value", "") for taint in node["spec"].get("taints") or []}

"""Why a session does not come up, as Kubernetes tells it of its pod: in words for its user, each with what to do.

Kubernetes goes on trying. What may pass by itself is given time before the start is given up, and the reason is told
then, in place of a page that only counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cygnet_hub import counted
from cygnet_hub.unwell import IMAGE_LABEL

AGAIN: Final = "Start again in some minutes; if that does not help, tell those who run this service."
SHOWN: Final = 300
"""So many characters of what others said."""
_IMAGE_TROUBLE: Final = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
                         "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed"}  # fmt: skip
_CREATE_TROUBLE: Final = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_VOLUME_TROUBLE: Final = {"FailedMount", "FailedAttachVolume", "FailedMapVolume"}
_TOO_LITTLE: Final = {"memory": "too little free memory", "cpu": "too few free cores",
                      "ephemeral-storage": "too little free disk"}  # fmt: skip
_CRASHES: Final = 3


@dataclass(frozen=True)
class Cause:
    """Why a session does not come up.

    Attributes:
        kind: As it is counted (`counted`).
        what: Is wrong, and where; users read it.
        cure: What they can do.
        patience_seconds: For so long it may pass by itself; infinite: until the start has taken too long.
    """

    kind: str
    what: str
    cure: str = AGAIN
    patience_seconds: float = 0

    @property
    def words(self) -> str:
        """Both, as its user reads them."""
        return f"{self.what}. {self.cure}"


UNKNOWN: Final = Cause(
    counted.TOO_SLOW,
    "The session was not ready in time, and Kubernetes does not tell why: the machines may be busy, or slow to read "
    "its software",
)


def of_pod(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]] = ()) -> Cause | None:
    """What keeps a pod from running; None where nothing is known of.

    Args:
        pod: As Kubernetes last told it.
        events: Of it, the newest last.

    >>> waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such host"}}}
    >>> of_pod({"spec": {"nodeName": "w1"}, "status": {"containerStatuses": [waiting]}}).what
    'The image of sessions cannot be brought to the machine w1: no such host'
    """
    if pod.get("metadata", {}).get("deletionTimestamp"):
        return None  # one from before, which goes
    found = next(_of_status(pod), None)
    return found or _of_events(pod, events)


def refused(status: int, body: str) -> Cause:
    """Why Kubernetes' API takes no pod, or no volume for a home.

    >>> refused(403, '{"message": "pods is forbidden: exceeded quota: all, requested: pods=1"}').kind
    'quota'
    """
    try:
        message = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        message = body
    if status == 403 and "exceeded quota" in message:
        return Cause(
            counted.QUOTA,
            f"This service may have no more sessions at once ({_short(message.partition('forbidden: ')[2])})",
            "Start again when others have ended theirs, or choose a smaller size if there is one.",
        )
    if status in (403, 422):
        what = f"Kubernetes does not take the session: {_short(message)}"
        return Cause(counted.OTHER, what, "That does not pass by itself: tell those who run this service.")
    return Cause(counted.OTHER, f"Kubernetes does not answer as it should, but with {status}")


def unplaced(message: str, labels: Mapping[str, str]) -> Cause:
    """Why no machine takes a pod.

    Args:
        message: What Kubernetes' scheduler says.
        labels: Which the pod wants of nodes.

    >>> unplaced("0/3 nodes are available: 2 Insufficient memory, 1 node(s) had untolerated taint(s).", {}).what
    'No machine has room for your session now: 2 have too little free memory'
    """
    short = [
        (int(number), _TOO_LITTLE.get(what, f"no free {what}"))
        for number, what in re.findall(r"(\d+) Insufficient ([\w./-]*\w)", message)
    ]
    short += [(int(number), "as many pods as they may") for number in re.findall(r"(\d+) Too many pods", message)]
    if short:
        told = ", ".join(f"{number} {'has' if number == 1 else 'have'} {what}" for number, what in short)
        return Cause(
            counted.NO_ROOM,
            f"No machine has room for your session now: {told}",
            "Choose a smaller size if there is one, or start again when others have ended their sessions.",
            math.inf,
        )
    if re.search(r"persistentvolumeclaim|volume node affinity", message, re.IGNORECASE):
        return Cause(counted.NO_VOLUME, f"The volume of your home is not there yet: {_short(message)}", AGAIN, 120)
    if "node affinity/selector" in message and IMAGE_LABEL in labels:
        what = "The image of sessions is not there yet, or not where there is room"
        return Cause(counted.NO_IMAGE, what, AGAIN, math.inf)
    what = f"No machine takes your session now: {_short(message) or 'Kubernetes does not tell why'}"
    return Cause(counted.NO_ROOM, what, AGAIN, math.inf)


def _of_status(pod: Mapping[str, Any]) -> Iterator[Cause]:
    spec, status = pod.get("spec", {}), pod.get("status", {})
    if status.get("phase") in ("Failed", "Succeeded"):
        why = status.get("message") or status.get("reason") or "its server ended"
        yield Cause(counted.OTHER, f"The session ended on {_machine(pod)} before it had begun: {_short(why)}")
    for one in status.get("conditions") or []:
        if one["type"] == "PodScheduled" and one.get("reason") == "Unschedulable":
            yield unplaced(str(one.get("message") or ""), spec.get("nodeSelector") or {})
    for container in status.get("containerStatuses") or []:
        yield from _of_container(container, pod)


def _of_container(container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[Cause]:
    state = container.get("state") or {}
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), _short(waiting.get("message") or waiting.get("reason") or "")
    if reason in _IMAGE_TROUBLE:
        what = f"The image of sessions cannot be brought to {_machine(pod)}: {message}"
        yield Cause(counted.NO_IMAGE, what, AGAIN, 60)
    if reason in _CREATE_TROUBLE:
        yield Cause(counted.OTHER, f"The session cannot be made on {_machine(pod)}: {message}", AGAIN, 30)
    ended = state.get("terminated") or (container.get("lastState") or {}).get("terminated")
    # Each end begins another one; the first may have been bad luck.
    ends = container.get("restartCount", 0) + bool(state.get("terminated"))
    if ended and ends >= _CRASHES:
        yield _crashed(ended, ends)


def _crashed(ended: Mapping[str, Any], ends: int) -> Cause:
    if ended.get("reason") == "OOMKilled":
        return Cause(
            counted.CRASHED,
            f"The session wanted more memory than it may use, {ends} times before it had begun",
            "Choose a larger size if there is one, and no script; otherwise tell those who run this service.",
        )
    lines = [line for line in str(ended.get("message") or "").splitlines() if line.strip()]
    said = f". It said last: {_short(lines[-1])}" if lines else ""
    return Cause(
        counted.CRASHED,
        f"The session's server ended {ends} times before it had begun, with status {ended.get('exitCode')}{said}",
        "If your home is full, make room in it; if you changed ~/.jupyter, rename that folder. Otherwise tell those "
        "who run this service.",
    )


def _of_events(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> Cause | None:
    """What its machine said last of a pod whose container is being made."""
    containers = pod.get("status", {}).get("containerStatuses") or []
    warnings = [one for one in events if one.get("type") == "Warning"]
    begun = any("running" in (one.get("state") or {}) for one in containers)
    if begun or not warnings or not pod.get("spec", {}).get("nodeName"):
        return None
    reason, message = warnings[-1].get("reason", ""), str(warnings[-1].get("message") or "")
    if reason in _VOLUME_TROUBLE:
        thing = "The software repository" if "cvmfs" in message else "Your home, or other files,"
        return Cause(counted.NO_VOLUME, f"{thing} cannot be had on {_machine(pod)}: {_short(message)}", AGAIN, 90)
    if reason == "FailedCreatePodSandBox":
        what = f"The session cannot be made on {_machine(pod)}: {_short(message)}"
        return Cause(counted.OTHER, what, AGAIN, 90)
    return None


def _machine(pod: Mapping[str, Any]) -> str:
    node = pod.get("spec", {}).get("nodeName")
    return f"the machine {node}" if node else "its machine"


def _short(message: str) -> str:
    r"""The beginning of what others said, as part of a sentence.

    >>> _short('Back-off pulling image "x".\n')
    'Back-off pulling image "x"'
    """
    line = " ".join(message.split())
    return (line if len(line) <= SHOWN else f"{line[:SHOWN]} ...").rstrip(".")

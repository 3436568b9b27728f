"""Sessions as pods, with an end for those whose machine went away, and the reason where Kubernetes ended one.

Kubernetes goes on saying "running" of a pod on a machine that does not answer any more, until the machine is back or
somebody deletes the pod. Its user would sit before a page that never comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from tornado.web import HTTPError

from cygnet_hub import causes, counted
from cygnet_hub.ending import Ending
from cygnet_hub.guests import AWAY, SECONDS
from cygnet_hub.start import SCRIPT, Refusal
from cygnet_hub.unwell import IMAGE_LABEL, is_unplaced, words

CONNECT_SECONDS = 3
SETTLED_SECONDS = 15
"""How long after a container's end Kubernetes may take to say why it ended it, on a machine that has much to do."""
LOOKED_EVERY_SECONDS = 0.5
_TOO_MUCH_WRITTEN = (
    "ephemeral local storage usage exceeds the total limit",
    "exceeded its local ephemeral storage limit",
)
"""How Kubernetes says it of a pod, and of a container's own log."""


class SessionSpawner(Ending, KubeSpawner):
    """Ends a session whose machine is lost, and says why one has ended."""

    _last_pod: Mapping[str, Any] | None = None

    def get_env(self) -> dict[str, Any]:
        """The session's variables, with the script that its user chose; it was checked when it was chosen."""
        script = self.user_options.get(SCRIPT)
        return {**super().get_env(), **({"CYGNET_SCRIPT": script} if script else {})}

    async def poll(self) -> int | None:
        """None while the session runs, otherwise its exit status."""
        await self._start_watching_pods()
        pod = await self._settled_pod()
        self._last_pod = pod or self._last_pod
        status: int | None = await super().poll()
        if status is not None:
            # Whoever sees first that it has ended deletes the pod, and others ask meanwhile.
            ended = self._last_pod or {"status": {}}
            evicted = await self._eviction(ended) if self.ready else ""
            if self.ready and not self.ended_because:
                self.has_ended(why_ended(ended, evicted))
            return status
        # A machine that is only cut off from Kubernetes still serves its users.
        if not pod or not is_on_lost_machine(pod) or await answers(pod["status"]["podIP"], self.port):
            return None
        await self.end(f"the machine on which it ran ({pod['spec']['nodeName']}) stopped answering")
        return 1

    async def _settled_pod(self) -> Mapping[str, Any] | None:
        """The pod as the hub knows it; once its container has ended, with what Kubernetes says of that soon after."""
        until = time.monotonic() + SETTLED_SECONDS
        while True:
            pod: Mapping[str, Any] | None = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
            if not pod or pod["status"]["phase"] != "Running" or not end_of(pod) or time.monotonic() > until:
                return pod
            await asyncio.sleep(LOOKED_EVERY_SECONDS)

    async def _eviction(self, pod: Mapping[str, Any]) -> str:
        """What Kubernetes said when it evicted a pod; of one whose server then ended well, only an event tells."""
        await self._start_watching_events()
        found = (one for one in self.events if one["reason"] == "Evicted")
        mine = [one for one in found if one["involvedObject"].get("uid") == pod.get("metadata", {}).get("uid")]
        return str(mine[-1]["message"]) if mine else ""

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the page shows while a session starts: Kubernetes' events, and what they mean where they do not say."""
        async for event in super().progress():
            yield event
            raw = event.get("raw_event", {})
            if raw.get("reason") != "FailedScheduling":
                continue
            if not (reason := await self.unwell(image=self.node_selector.get(IMAGE_LABEL, ""))):
                what = causes.unplaced(str(raw.get("message") or ""), self.node_selector).what
                reason = f"{what[0].lower()}{what[1:]}"
            yield {**event, "message": f"Your session waits: {reason}. It starts when a machine can take it."}

    async def unwell(self, *, image: str = "") -> str:
        """What does not answer on machines for sessions, in words; nothing when they are well, or cannot be asked.

        Args:
            image: The tag of the image that has to be there as well.
        """
        try:
            nodes = await self.api.list_node(_request_timeout=SECONDS)
        except AWAY as error:
            self.log.warning("%s: the machines' state cannot be read: %s", self._log_name, error)
            return ""
        if why := words(self.api.api_client.sanitize_for_serialization(nodes)["items"], image):
            self.log.warning("%s: no machine takes the session: %s", self._log_name, why)
        return why

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        """As KubeSpawner makes it; what Kubernetes refuses is told."""
        try:
            return bool(await super()._make_create_pod_request(pod, request_timeout))
        except ApiException as error:
            raise _refusal(error) from error

    async def _make_create_pvc_request(self, pvc: Any, request_timeout: float) -> bool:
        """Likewise."""
        try:
            return bool(await super()._make_create_pvc_request(pvc, request_timeout))
        except ApiException as error:
            raise _refusal(error) from error

    def start(self) -> asyncio.Future[Any]:
        """Starts the session on a machine that Kubernetes chooses."""
        self._last_pod = None
        begun: asyncio.Future[Any] = super().start()
        begun.add_done_callback(self._started)
        return begun

    def _started(self, begun: asyncio.Future[Any]) -> None:
        """Notes for the log how a start ended."""
        if begun.cancelled() or (error := begun.exception()):
            why = "took too long" if begun.cancelled() else str(getattr(error, "log_message", None) or error)
            self.user.settings["audit"].session(self, "start session", "failed", why)
            counted.failed(None if begun.cancelled() else error, unplaced=self._is_unplaced())
        else:
            self.user.settings["audit"].session(self, "start session", "done")

    def _is_unplaced(self) -> bool:
        """Whether Kubernetes found no machine for the pod, as it last told of it."""
        reflector = self.pod_reflector
        return is_unplaced((reflector.pods if reflector else {}).get(f"{self.namespace}/{self.pod_name}", {}))


def _refusal(error: ApiException) -> HTTPError:
    """What a user reads of what Kubernetes' API refused."""
    cause = causes.refused(error.status, str(error.body or ""))
    return Refusal(503, cause.words, cause.kind)


def is_on_lost_machine(pod: Mapping[str, Any]) -> bool:
    """Whether the machine under a running pod stopped reporting to Kubernetes.

    Kubernetes itself then writes that the pod is not ready, beside the machine's last word that its containers are.

    >>> is_on_lost_machine({"status": {"conditions": [
    ...     {"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]}})
    True
    """
    said = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return said.get("Ready") == "False" and said.get("ContainersReady") == "True"


def why_ended(pod: Mapping[str, Any], evicted: str = "") -> str:
    """Why Kubernetes ended a pod, or its container ended.

    Args:
        pod: As it was last seen.
        evicted: What Kubernetes said when it evicted it.

    >>> limits = {"resources": {"limits": {"ephemeral-storage": "1Gi"}}}
    >>> said = {"type": "DisruptionTarget", "status": "True",
    ...     "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "}
    >>> why_ended({"spec": {"containers": [limits]}, "status": {"conditions": [said]}})
    'it wrote more than 1 GiB to /tmp'
    >>> ended = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
    >>> why_ended({"status": {"containerStatuses": [ended]}})
    'its notebook server used more memory than it may'
    >>> why_ended({"status": {"containerStatuses": [{"state": {"running": {}}}]}})
    'its pod was taken away'
    """
    status = pod["status"]
    # Who deletes a pod says so in a condition, and the kubelet in a message of the pod's own.
    conditions = (one for one in status.get("conditions") or [] if one["type"] == "DisruptionTarget")
    message = (evicted or str(next(conditions, status).get("message") or "")).strip().rstrip(".")
    if any(words in message for words in _TOO_MUCH_WRITTEN):
        return f"it wrote more than {_disk(pod)} to /tmp"
    if message:
        return f"Kubernetes ended it, as it says: {message}"
    ended = end_of(pod)
    if ended.get("reason") == "OOMKilled":
        return "its notebook server used more memory than it may"
    if "exitCode" not in ended:
        return "its pod was taken away"
    if ended["exitCode"] == 0:
        return "its notebook server was shut down"
    return f"its notebook server ended with status {ended['exitCode']}"


def end_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the container of a pod has ended; empty while it runs.

    >>> end_of({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}})
    {'exitCode': 0}
    >>> end_of({"status": {"containerStatuses": [{"state": {"running": {}}}]}})
    {}
    """
    containers = pod["status"].get("containerStatuses") or []
    return next((one["state"].get("terminated") for one in containers), None) or {}


def _disk(pod: Mapping[str, Any]) -> str:
    """What a pod may write, as people read it."""
    (limit,) = (one["resources"]["limits"]["ephemeral-storage"] for one in pod["spec"]["containers"])
    return str(limit).replace("Gi", " GiB")


async def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), CONNECT_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True

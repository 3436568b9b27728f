"""Sessions as pods, with an end for those whose machine went away.

Kubernetes goes on saying "running" of a pod on a machine that does not answer any more, until the machine is back or
somebody deletes the pod. Its user would sit before a page that never comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner  # type: ignore[import-untyped]

from cygnet_hub.unwell import words

CONNECT_SECONDS = 3


class SessionSpawner(KubeSpawner):  # type: ignore[misc]
    """Ends a session whose machine is lost. `lost_machine` is that machine's name until the user starts anew."""

    lost_machine = ""

    async def poll(self) -> int | None:
        """None while the session runs, otherwise its exit status."""
        status: int | None = await super().poll()
        pod = self.pod_reflector.pods.get(f"{self.namespace}/{self.pod_name}")
        if status is not None or not pod or not is_on_lost_machine(pod):
            return status
        # A machine that is only cut off from Kubernetes still serves its users.
        if await answers(pod["status"]["podIP"], self.port):
            return None
        self.lost_machine = pod["spec"]["nodeName"]
        self.log.warning("%s: the machine %s does not answer; the session ends", self._log_name, self.lost_machine)
        self.user.settings["audit"].session(self, "end session", "done", f"{self.lost_machine} does not answer")
        await self.stop(now=True)
        return 1

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """What the page shows while a session starts: Kubernetes' events, and what they mean where they do not say."""
        async for event in super().progress():
            yield event
            if event.get("raw_event", {}).get("reason") == "FailedScheduling" and (told := await self.unwell()):
                yield {**event, "message": f"Your session waits: {told}. It starts when a machine is well again."}

    async def unwell(self) -> str:
        """What does not answer on machines for sessions, in words; nothing when they are well, or cannot be asked."""
        try:
            nodes = await self.api.list_node()
        except ApiException as error:
            self.log.warning("%s: the machines' state cannot be read: %s", self._log_name, error)
            return ""
        if told := words(self.api.api_client.sanitize_for_serialization(nodes)["items"]):
            self.log.warning("%s: no machine takes the session: %s", self._log_name, told)
        return told

    def start(self) -> asyncio.Future[Any]:
        """Starts the session on a machine that Kubernetes chooses."""
        self.lost_machine = ""
        begun: asyncio.Future[Any] = super().start()
        begun.add_done_callback(self._started)
        return begun

    def _started(self, begun: asyncio.Future[Any]) -> None:
        """Notes for the log how a start ended."""
        if begun.cancelled() or (error := begun.exception()):
            why = "took too long" if begun.cancelled() else str(getattr(error, "log_message", None) or error)
            self.user.settings["audit"].session(self, "start session", "failed", why)
        else:
            self.user.settings["audit"].session(self, "start session", "done")

    def get_state(self) -> dict[str, Any]:
        """What the hub remembers of the session, beyond its end and a restart of the hub."""
        return {**super().get_state(), "lost_machine": self.lost_machine}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what the hub remembered."""
        super().load_state(state)
        self.lost_machine = state.get("lost_machine", "")


def is_on_lost_machine(pod: Mapping[str, Any]) -> bool:
    """Whether the machine under a running pod stopped reporting to Kubernetes.

    Kubernetes itself then writes that the pod is not ready, beside the machine's last word that its containers are.

    >>> is_on_lost_machine({"status": {"conditions": [
    ...     {"type": "ContainersReady", "status": "True"}, {"type": "Ready", "status": "False"}]}})
    True
    """
    said = {one["type"]: one["status"] for one in pod["status"].get("conditions", [])}
    return said.get("Ready") == "False" and said.get("ContainersReady") == "True"


async def answers(address: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), CONNECT_SECONDS)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True

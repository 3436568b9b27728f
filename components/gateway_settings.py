"""The gateway's settings, and how an update learns that Caddy has taken them up.

Caddy reads them from a mounted Secret, whenever that changes, because whoever would start it anew would end all
websockets. A machine brings a changed Secret into its pods within a minute or so, and Caddy keeps what it had if it
cannot use what it reads: neither is to be seen from outside. So Caddy tells the digest of what it goes by, on its pod's
own loopback, and an update has ended when it tells the new one.
"""

import hashlib
import http.client
import json
import time
from typing import Any, Final

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.errors import CygnetError
from components.kubectl import forwarded, kubectl

_PORT: Final = 8081  # of the pod's loopback
_SECONDS: Final = 180
_EVERY: Final = 0.5


def settings(config: dict[str, Any]) -> tuple[str, str]:
    """Caddy's file for a configuration, and the digest that it tells when it goes by that."""
    digest = hashlib.sha256(json.dumps(config).encode()).hexdigest()[:16]
    told = {
        "listen": [f"127.0.0.1:{_PORT}"],
        "routes": [{"handle": [{"handler": "static_response", "body": digest}]}],
        "automatic_https": {"disable": True},
    }
    http = config["apps"]["http"]
    with_told = {**http, "servers": {**http["servers"], "settings": told}}
    return json.dumps({**config, "apps": {**config["apps"], "http": with_told}}), digest


class _TakenUpProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        _wait(props)
        return CreateResult(id_=props["namespace"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        _wait(news)
        return UpdateResult(outs=news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=olds["digest"] != news["digest"])


class TakenUp(Resource, module="cygnet", name="TakenUp"):
    """Settings that each Caddy of a namespace goes by: made, and changed, when all that are ready tell their digest.

    Raises:
        CygnetError: One does not; with what it says.
    """

    def __init__(
        self,
        name: str,
        digest: pulumi.Input[str],
        *,
        namespace: pulumi.Input[str],
        kubeconfig: pulumi.Input[str],
        opts: pulumi.ResourceOptions,
    ) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["kubeconfig"])
        props = {"digest": digest, "namespace": namespace, "kubeconfig": kubeconfig}
        super().__init__(_TakenUpProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


def _wait(props: dict[str, Any]) -> None:
    kubeconfig, namespace, digest = props["kubeconfig"], props["namespace"], props["digest"]
    inside = f"--namespace={namespace}"
    pods = json.loads(kubectl(kubeconfig, "get", "pods", inside, "--output=json"))["items"]
    ready = [pod["metadata"]["name"] for pod in pods if _is_ready(pod)]
    if ready:
        # When anything of a pod changes, its machine looks at the pod's Secrets at once.
        kubectl(kubeconfig, "annotate", "pod", *ready, inside, "--overwrite", f"cygnet.io/told={digest}")
    for pod in ready:
        if not _goes_by(kubeconfig, namespace, pod, digest):
            said = kubectl(kubeconfig, "logs", pod, inside, "--tail=5")
            raise CygnetError(
                f"the gateway's pod {pod} does not go by its new settings after {_SECONDS} s, and serves as before. "
                f"Run the same command again, or have Caddy start anew, which ends websockets: kubectl delete pod "
                f"{pod} {inside}. Its last words: {said.strip()}"
            )


def _goes_by(kubeconfig: str, namespace: str, pod: str, digest: str) -> bool:
    end = time.monotonic() + _SECONDS
    with forwarded(kubeconfig, pod, _PORT, namespace=namespace) as port:
        while (told := _told(port)) != digest and time.monotonic() < end:
            time.sleep(_EVERY)
    return told == digest


def _told(port: int) -> str:
    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        asked.request("GET", "/")
        return asked.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return ""  # Caddy begins, or is between its former settings and the new ones
    finally:
        asked.close()


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(one["type"] == "Ready" and one["status"] == "True" for one in pod["status"].get("conditions", []))

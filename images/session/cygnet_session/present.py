"""Says on its machine's node that the session's image is there: python3 -I -m cygnet_session.present LABEL VALUE TAINT.

It runs from that image, in a pod on each machine: that it runs is the proof, and as long as it does nobody removes the
image. The node's name is in the variable NODE. It gets the label with the value, and loses the taint if it has it. Both
are looked at again now and then: a node may have been made anew.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes gives a pod its token; CYGNET_ACCOUNT names another folder."""
EVERY_SECONDS = 60
AFTER_TROUBLE_SECONDS = 5
API_SECONDS = 10


def change(node: Mapping[str, Any], label: str, value: str, taint: str) -> dict[str, Any]:
    """What has to be changed of a node, as a merge patch; empty when nothing has.

    >>> change({"metadata": {"labels": {}}, "spec": {}}, "image", "a", "new")
    {'metadata': {'labels': {'image': 'a'}}}
    >>> change({"metadata": {"labels": {"image": "a"}}, "spec": {"taints": [{"key": "gpu"}]}}, "image", "a", "new")
    {}
    """
    metadata: dict[str, Any] = {}
    spec: dict[str, Any] = {}
    if node["metadata"].get("labels", {}).get(label) != value:
        metadata["labels"] = {label: value}
    taints = node["spec"].get("taints", [])
    if any(one["key"] == taint for one in taints):
        spec["taints"] = [one for one in taints if one["key"] != taint]
        # The list is replaced as a whole: not by one of yesterday.
        metadata["resourceVersion"] = node["metadata"]["resourceVersion"]
    return {name: value for name, value in (("metadata", metadata), ("spec", spec)) if value}


class Node:
    """The machine's node, in Kubernetes' API."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._account = Path(environment.get("CYGNET_ACCOUNT", ACCOUNT))
        self._host = f"{environment['KUBERNETES_SERVICE_HOST']}:{environment['KUBERNETES_SERVICE_PORT']}"
        self._path = f"/api/v1/nodes/{environment['NODE']}"
        self._context = ssl.create_default_context(cafile=str(self._account / "ca.crt"))

    def label(self, label: str, value: str, taint: str) -> bool:
        """Makes the node what it should be; tells whether it was not.

        Raises:
            OSError, ValueError, http.client.HTTPException: Kubernetes does not answer, or refuses.
        """
        patch = change(self._ask("GET"), label, value, taint)
        if patch:
            self._ask("PATCH", patch)
        return bool(patch)

    def _ask(self, method: str, body: Mapping[str, Any] | None = None) -> Any:
        connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=API_SECONDS)
        headers = {
            "Authorization": f"Bearer {(self._account / 'token').read_text()}",  # another one every hour
            "Content-Type": "application/merge-patch+json",
            "Accept": "application/json",
        }
        try:
            connection.request(method, self._path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != http.HTTPStatus.OK:
            raise ValueError(f"{answer.status}: {text.decode(errors='replace')[:500]}")
        return json.loads(text)


def main() -> None:
    """Goes on until it is ended."""
    label, value, taint = sys.argv[1:4]
    node, trouble = Node(os.environ), ""
    while True:
        pause = EVERY_SECONDS
        try:
            if node.label(label, value, taint):
                print(f"{label}={value} is on this machine's node", flush=True)
            trouble = ""
        except (OSError, ValueError, http.client.HTTPException) as error:
            pause = AFTER_TROUBLE_SECONDS
            if trouble != (trouble := str(error)):
                print(f"Kubernetes cannot be told that the image is here: {trouble}", flush=True)
        time.sleep(pause)


if __name__ == "__main__":
    main()

"""Guests: users of /eos whom the stack file does not name, because an identity provider knows them.

The hub learns who they are when they come. It writes them into a ConfigMap, which every machine watches with the
certificate of its kubelet: so it is Kubernetes that authenticates both, and keeps the list. The hub may read and change
this one object, machines may read it, and nobody else sees it.
"""

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import Cluster
from components.permissions import grant, group, service_account
from components.policies import HUB_NAMESPACE

_NAMESPACE, _NAME = "eos", "guests"
LIST = f"{_NAMESPACE}/{_NAME}"
"""Namespace and name of the ConfigMap; a key for each user, `{"uid": 70000, "groups": ["atlas"]}`."""


class Guests:
    """The list, and who may do what with it. Gives `settings`, for the hub, known when the hub may write there."""

    settings: pulumi.Output[dict[str, Any]]

    def __init__(self, cluster: Cluster, groups: Sequence[str], *, parent: pulumi.Resource) -> None:
        """Makes the list, empty, if it is not there.

        Args:
            cluster: Where it is kept.
            groups: Those that data is opened to; no others are told to machines.
            parent: What it is a part of.
        """
        inside = cluster.inside(parent)
        metadata = {"name": _NAME, "namespace": cluster.namespace(_NAMESPACE, parent=parent)}
        made = k8s.core.v1.ConfigMap(
            _NAME,
            metadata=metadata,
            # What is in it is the hub's.
            opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(ignore_changes=["data"])),
        )
        bound = [
            grant(f"guests-{who}", {**metadata, "name": who}, _rules(verbs), subject, inside)
            for who, (verbs, subject) in _RIGHTS.items()
        ]
        self.settings = pulumi.Output.all(made.id, *(one.id for one in bound)).apply(
            lambda _: {"namespace": _NAMESPACE, "name": _NAME, "groups": list(groups)}
        )


def _rules(verbs: Sequence[str]) -> list[dict[str, Any]]:
    return [{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [_NAME], "verbs": list(verbs)}]


_RIGHTS: dict[str, tuple[Sequence[str], dict[str, str]]] = {
    "hub": (("get", "patch"), service_account("hub", HUB_NAMESPACE)),
    "machines": (("get", "list", "watch"), group("system:nodes")),
}

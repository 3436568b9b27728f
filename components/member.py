"""A machine's membership in the cluster: labels and taints of its node, which is drained before the machine goes."""

from collections.abc import Mapping
from typing import Any

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.errors import CygnetError
from components.kubectl import kubectl
from components.sources.groups import Node


class _MemberProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        ready = ("wait", "--for=condition=Ready", f"node/{props['node']}", "--timeout=300s")
        kubectl(props["kubeconfig"], *ready, seconds=330)
        _mark({}, props)
        return CreateResult(id_=props["node"], outs=props)

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        _mark(olds, news)
        return UpdateResult(outs=news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        # Another machine under the same name: the former one is drained before it goes.
        replaces = ["machine"] if olds.get("machine", news["machine"]) != news["machine"] else []
        # Of new credentials nothing follows, but `delete` needs some that are still good.
        changed = any(olds.get(key) != news[key] for key in ("kubeconfig", "machine", "labels", "taints"))
        return DiffResult(changes=bool(replaces) or changed, replaces=replaces, delete_before_replace=True)

    def delete(self, _id: str, props: dict[str, Any]) -> None:
        node = props["node"]
        try:
            pulumi.log.info(f"{node}: draining; its sessions have 60 s to end")
            kubectl(
                props["kubeconfig"], "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                "--timeout=60s",
            )  # fmt: skip
        except CygnetError as error:
            # A machine that is dead cannot be drained, and must go all the same.
            pulumi.log.warn(f"{node}: {error}; removed without draining")
        kubectl(props["kubeconfig"], "delete", "node", node, "--ignore-not-found")


class Member(Resource, module="cygnet", name="Member"):
    """One machine's place in the cluster: made when its node is ready, drained before the machine goes.

    Args:
        node: What the cluster is told of the machine. Labels and taints that others gave it stay.
        machine: The ID of what stands for the machine.
        kubeconfig: Of an administrator.
    """

    def __init__(
        self,
        name: str,
        node: Node,
        *,
        machine: pulumi.Input[str],
        kubeconfig: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        secret = pulumi.ResourceOptions(additional_secret_outputs=["kubeconfig"])
        props = {
            "node": name,
            "machine": machine,
            "labels": dict(node.labels),
            "taints": list(node.taints),
            "kubeconfig": kubeconfig,
        }
        super().__init__(_MemberProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


def _mark(olds: Mapping[str, Any], news: Mapping[str, Any]) -> None:
    """Gives a node its labels and taints, and takes away what was ours and is no longer."""
    had, has = olds.get("labels", {}), news["labels"]
    labels = [f"{key}={value}" for key, value in has.items() if had.get(key) != value]
    labels += [f"{key}-" for key in had if key not in has]
    former, wanted = olds.get("taints", []), news["taints"]
    taints = [taint for taint in wanted if taint not in former]
    taints += [f"{_identity(taint)}-" for taint in former if _identity(taint) not in map(_identity, wanted)]
    for verb, marks in (("label", labels), ("taint", taints)):
        if marks:
            kubectl(news["kubeconfig"], verb, "node", news["node"], "--overwrite", *marks)


def _identity(taint: str) -> str:
    """What makes a taint the same one, whatever its value: key and effect.

    >>> _identity("nvidia.com/gpu=present:NoSchedule")
    'nvidia.com/gpu:NoSchedule'
    """
    key, _, effect = taint.partition(":")
    return f"{key.partition('=')[0]}:{effect}"

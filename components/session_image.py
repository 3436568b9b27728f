"""The image of sessions on machines before sessions.

A pod on each machine has the image pulled. Where a stack wants sessions only where that is done (`hub.image_first`),
the pod is one of the image itself, and labels its machine's node with the image's tag; sessions select that label. So
a machine that joined a moment ago takes none, nor does one that has the former image only.
"""

from collections.abc import Sequence
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components.kubernetes import NODE_CHANGES, NODE_FIELDS, container, images_spec, pod_template
from components.permissions import deny, grant, service_account
from components.policies import HUB_NAMESPACE, labels, tcp
from components.sources.groups import GPU_TAINT

NAME: Final = "session-image"
LABEL: Final = "cygnet.io/session-image"
STARTUP_TAINT: Final = "startup-taint.cluster-autoscaler.kubernetes.io/cygnet"
"""Machines of a pool that grows by itself may begin with it; it is lifted with the label. Its prefix tells Kubernetes'
autoscaler (since 1.29) that such a machine is not done yet: otherwise that would add more of them for who waits."""
_PROGRAM: Final = ("/usr/bin/python3", "-I", "-m", "cygnet_session.present")
_ACCOUNT: Final = f"system:serviceaccount:{HUB_NAMESPACE}:{NAME}"
_POLICY: Final = f"cygnet-{NAME}"


def tag(image: str) -> str:
    """The tag of an image, as the label has it.

    >>> tag("10.0.0.1:5000/cygnet/session:0f3a")
    '0f3a'
    """
    return image.rpartition(":")[2]


def selector(image: str) -> dict[str, str]:
    """What nodes have on whose machines the image is."""
    return {LABEL: tag(image)}


def pulling_spec(image: str, pause: str) -> dict[str, Any]:
    """A pod on every machine for sessions, whose only work is to have the image pulled."""
    return images_spec(NAME, [image], pause, tolerated=[GPU_TAINT, STARTUP_TAINT])


def labelling_spec(image: str) -> dict[str, Any]:
    """The same, of the image itself; it labels the machine's node."""
    there = container(
        "present",
        image,
        command=_PROGRAM,
        args=[LABEL, tag(image), STARTUP_TAINT],
        env={"NODE": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        requests={"cpu": "1m", "memory": "16Mi"},
        limits={"memory": "64Mi"},
    )
    template = pod_template(labels(NAME), there, service_account=NAME, tolerated=[GPU_TAINT, STARTUP_TAINT])
    template["spec"]["terminationGracePeriodSeconds"] = 1
    return {
        "selector": {"matchLabels": labels(NAME)},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "100%"}},
        "template": template,
    }


def permission(
    namespace: pulumi.Input[str],
    api: tuple[pulumi.Output[list[str]], pulumi.Output[int]],
    pull_secrets: Sequence[Any],
    inside: pulumi.ResourceOptions,
) -> pulumi.Resource:
    """Lets the pods label their own nodes, and reach Kubernetes' API for that; gives what is made last.

    Args:
        namespace: Theirs.
        api: Where it is behind the address of its service: hosts, and a port.
        pull_secrets: What an account needs to get images.
        inside: Options of resources in the cluster.
    """
    there, everywhere = {"name": NAME, "namespace": namespace}, {"name": _POLICY}
    k8s.core.v1.ServiceAccount(NAME, metadata=there, image_pull_secrets=pull_secrets, opts=inside)
    spec = pulumi.Output.all(*api).apply(lambda known: network_policy(*known))
    k8s.networking.v1.NetworkPolicy(NAME, metadata=there, spec=spec, opts=inside)
    after = deny(NAME, everywhere, POLICY, inside)
    return grant(NAME, everywhere, RULES, service_account(NAME, namespace), after)


def network_policy(api_servers: Sequence[str], api_port: int) -> dict[str, Any]:
    """The pods reach Kubernetes' API, and nobody reaches them."""
    return {
        "podSelector": {"matchLabels": labels(NAME)},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [
            {"to": [{"ipBlock": {"cidr": f"{address}/32"}} for address in api_servers], "ports": [tcp(api_port)]}
        ],
    }


RULES: list[dict[str, Any]] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "patch"]}]
"""What the pods may do to nodes as far as roles can say it."""

_LABELS: Final = "metadata.?labels"
_OWN_NODE: Final = "request.userInfo.extra[?'authentication.kubernetes.io/node-name'][0].orValue('')"

POLICY: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": NODE_CHANGES,
    "matchConditions": [{"name": "by-these-pods", "expression": f"request.userInfo.username == '{_ACCOUNT}'"}],
    "variables": [
        {"name": f"{name}{what}", "expression": f"{node}.{field}.orValue({empty})"}
        for name, node in (("new", "object"), ("old", "oldObject"))
        for what, field, empty in (("Labels", _LABELS, "{}"), ("Taints", "spec.?taints", "[]"))
    ],
    "validations": [
        {
            "expression": f"{_OWN_NODE} == object.metadata.name",
            "message": "a pod may change the node of its own machine only",
        },
        {
            "expression": " && ".join(
                f"variables.{one}Labels.all(key, key == '{LABEL}' || (key in variables.{other}Labels && "
                f"variables.{one}Labels[key] == variables.{other}Labels[key]))"
                for one, other in (("new", "old"), ("old", "new"))
            ),
            "message": f"of the labels only {LABEL} may be changed",
        },
        {
            "expression": "variables.newTaints == variables.oldTaints || variables.newTaints == "
            f"variables.oldTaints.filter(taint, taint.key != '{STARTUP_TAINT}')",
            "message": f"of the taints only {STARTUP_TAINT} may be lifted",
        },
        {
            "expression": " && ".join(
                f"object.{field} == oldObject.{field}" for field in NODE_FIELDS if field != _LABELS
            ),
            "message": f"nothing but the label {LABEL} and the taint {STARTUP_TAINT} may be changed",
        },
    ],
}
"""What narrows that down: one label, and the end of one taint, of the node on which the pod is, as its token tells."""

"""Placeholders: pods that hold room for sessions which are still to come, and make way for them.

Each asks for what a session of the standard size is guaranteed, on machines that sessions go to. Their priority is the
lowest for which Kubernetes' autoscaler still adds machines: a session takes the room of one at once, that one waits,
and the machine that comes for it is there before the next session needs it.
"""

from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components import session_image
from components.hub_config import HubConfig
from components.kubernetes import container, pod_template

NAME: Final = "placeholders"
PRIORITY_CLASS: Final = "cygnet-placeholder"
LABELS: Final = {"app.kubernetes.io/name": NAME}
PRIORITY: Final[dict[str, Any]] = {
    "value": -10,  # the autoscaler's --expendable-pods-priority-cutoff; below it pods may wait for ever
    "global_default": False,
    "preemption_policy": "Never",
    "description": "Holds room for sessions of cygnet, and makes way for any other pod",
}


def hold(
    config: HubConfig,
    namespace: pulumi.Input[str],
    images: tuple[pulumi.Output[str], pulumi.Output[str]],
    inside: pulumi.ResourceOptions,
) -> None:
    """Declares as many as the stack says.

    Args:
        config: What that says of its hub.
        namespace: Of sessions.
        images: That of sessions, which is not run, and the one that does nothing.
        inside: Options of resources in the cluster.
    """
    priority = k8s.scheduling.v1.PriorityClass(NAME, metadata={"name": PRIORITY_CLASS}, **PRIORITY, opts=inside)
    k8s.apps.v1.Deployment(
        NAME,
        # Where there is no room they wait, and nobody has to wait for them.
        metadata={"name": NAME, "namespace": namespace, "annotations": {"pulumi.com/skipAwait": "true"}},
        spec=pulumi.Output.all(*images).apply(lambda known: spec(config, *known)),
        opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=[priority])),
    )


def spec(config: HubConfig, session: str, pause: str) -> dict[str, Any]:
    """A Deployment of them.

    Args:
        config: What the stack says of its hub.
        session: The image of sessions.
        pause: Theirs.
    """
    room = {
        "cpu": f"{config.cores_guaranteed:g}",
        "memory": f"{round(config.memory_gib_guaranteed * 1024)}Mi",
        "ephemeral-storage": "64Mi",
    }
    template = pod_template(LABELS, container("pause", pause, requests=room, limits={"memory": room["memory"]}))
    template["spec"] |= {
        # They go where sessions go: without what the service's own pods tolerate.
        "tolerations": [],
        **({"nodeSelector": session_image.selector(session)} if config.image_first else {}),
        "priorityClassName": PRIORITY_CLASS,
        "terminationGracePeriodSeconds": 0,
    }
    return {
        "replicas": config.placeholders,
        "selector": {"matchLabels": LABELS},
        # With others beside them for a while there would be too many.
        "strategy": {"type": "Recreate"},
        "template": template,
    }

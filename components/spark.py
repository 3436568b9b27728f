"""Spark: clusters that users may choose beside their session, for executors of a driver in the notebook.

A cluster is of a kind. Of `kubernetes`, executors are pods in a namespace that the hub makes for one session and
removes with it (images/hub/cygnet_hub/spark.py). Here is what keeps everybody to that: roles, and two admission
policies, of which one says what an executor may be, and the other what of this the hub may make. Those of kind
`standalone` are made by `components.spark_standalone`; of kind `yarn` there is nothing to be made before a session.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components import spark_standalone, spark_yarn
from components.cluster import OwnCluster
from components.existing_cluster import ExistingCluster
from components.permissions import deny, grant, service_account
from components.policies import HUB_NAMESPACE, SESSIONS_NAMESPACE
from components.registry import Registry
from components.sign_in.rights import RightsConfig
from components.software import SPARK_LINK
from components.spark_config import SparkClusterConfig, SparkConfig
from components.storage import Storage

PREFIX = "spark-"
LABELS = {"cygnet.io/part": "spark"}
UID_LABEL = "cygnet.io/uid"
USERNAME_LABEL = "hub.jupyter.org/username"
"""Of a session, by the hub's spawner."""
DRIVER_ROLE = "cygnet-spark-driver"
GROUP_ID = 100
"""Of all users of sessions; the hub says the same."""
FOLDERS = ("/cvmfs", "/eos")
_HUB = f"system:serviceaccount:{HUB_NAMESPACE}:hub"
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""What Kubernetes itself lets every pod tolerate for a while."""


class Spark(pulumi.ComponentResource):
    """What Kubernetes refuses to drivers and to the hub. Stands on a cluster, and on the images of sessions.

    Gives `settings`, of the hub: none where there are no clusters for Spark; and `secrets`, of clusters that have one
    for all their drivers, by the names under which the hub has them.
    """

    settings: pulumi.Output[dict[str, Any]] | None = None
    secrets: dict[str, pulumi.Output[str]]
    told: dict[str, Any]

    def __init__(
        self,
        name: str,
        config: SparkConfig,
        *,
        cluster: OwnCluster | ExistingCluster,
        registry: Registry,
        storage: Storage,
        repository: str,
        folders: Mapping[str, pulumi.Output[str] | None],
        rights: RightsConfig,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Spark", name, None, opts)
        kinds = {name: one.kind for name, one in config.clusters.items()}
        self.told = {"clusters": sorted(kinds), "kinds": kinds}
        secrets = spark_standalone.declare(
            config.standalone,
            cluster=cluster,
            registry=registry,
            storage=storage,
            folders=folders,
            view=view(repository),
            parent=self,
        )
        self.secrets = {f"spark-{name}": secret for name, secret in secrets.items()}
        if config.clusters:
            inside = cluster.inside(self)
            image = registry.image("session")
            metadata = {"name": "cygnet-spark-executors"}
            policy, in_theirs = image.apply(executor_policy), {"matchLabels": LABELS}
            of_executors = deny("spark-executors", metadata, policy, inside, namespaces=in_theirs)
            of_hub = deny("spark-hub", {"name": "cygnet-spark-hub"}, HUB_POLICY, inside)
            self._roles(pulumi.ResourceOptions.merge(of_executors, of_hub))
            self.settings = pulumi.Output.all(cluster.api_servers, cluster.api_port).apply(
                lambda known: hub_settings(config, repository, rights, api_servers=known[0], api_port=known[1])
            )
        self.register_outputs({"told": self.told})

    def _roles(self, inside: pulumi.ResourceOptions) -> None:
        """The hub binds the drivers' role to sessions; it has none of these rights itself."""
        k8s.rbac.v1.ClusterRole("spark-driver", metadata={"name": DRIVER_ROLE}, rules=DRIVER_RULES, opts=inside)
        account = service_account("hub", HUB_NAMESPACE)
        grant("spark-hub", {"name": "cygnet-spark-hub"}, HUB_RULES, account, inside)


def hub_settings(
    config: SparkConfig, repository: str, rights: RightsConfig, *, api_servers: Sequence[str], api_port: int
) -> dict[str, Any]:
    """What the hub is told of clusters: `clusters` and `spark` of its sessions' settings.

    Args:
        config: What the stack says.
        repository: The stack's own, in which Spark is.
        rights: Which clusters are for groups.
        api_servers: Addresses of Kubernetes' API, as policies see them.
        api_port: TCP, likewise.
    """
    common = {"view": view(repository), "api_servers": list(api_servers), "api_port": api_port}
    return {"spark": common, "clusters": [choice(*one, rights) for one in config.clusters.items()]}


def view(repository: str) -> str:
    """The folder that is Spark and its Java, in the stack's own repository."""
    return f"/cvmfs/{repository}/{SPARK_LINK}"


def choice(name: str, cluster: SparkClusterConfig, rights: RightsConfig) -> dict[str, Any]:
    """A cluster as the hub offers it.

    >>> choice("here", SparkClusterConfig(kind="kubernetes"), RightsConfig())["description"]
    'Up to 2 executors with 1 core and 2 GiB of memory each'
    """
    size = cluster.executors
    cores = f"{size.cores} core{'s' if size.cores > 1 else ''}"
    count = f"Up to {size.max} executors" if size.max > 1 else "One executor"
    return {
        "name": name,
        "title": cluster.title,
        "description": cluster.description or f"{count} with {cores} and {size.memory_gib:g} GiB of memory each",
        "groups": list(rights.features.get(name, ())),
        "kind": cluster.kind,
        "max": size.max,
        "cores": size.cores,
        "memory_gib": size.memory_gib,
        "history_days": cluster.history_days,
        "bundles": {title: dict(settings) for title, settings in cluster.bundles.items()},
        **_of_its_kind(name, cluster),
    }


def _of_its_kind(name: str, cluster: SparkClusterConfig) -> dict[str, Any]:
    if cluster.yarn:
        return spark_yarn.choice(cluster.yarn)
    if cluster.standalone:
        return {"master": spark_standalone.master(name)}
    size = cluster.executors
    return {"cores_guaranteed": size.cores / 10 if size.cores_guaranteed is None else size.cores_guaranteed}


DRIVER_RULES: list[dict[str, Any]] = [
    {
        "apiGroups": [""],
        "resources": ["pods"],
        "verbs": ["get", "list", "watch", "create", "delete", "deletecollection"],
    },
    {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
]
"""What a session may in the namespace of its executors. To enter or change a pod is not in it."""

HUB_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims", "resourcequotas", "secrets"], "verbs": ["create"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create"]},
    {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["rolebindings"], "verbs": ["create"]},
    {
        "apiGroups": ["rbac.authorization.k8s.io"],
        "resources": ["clusterroles"],
        "resourceNames": [DRIVER_ROLE],
        "verbs": ["bind"],
    },
]
"""What the hub may anywhere, as far as HUB_POLICY lets it: namespaces that it makes are not there before."""

HUB_RULES_IN_SESSIONS: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["serviceaccounts", "secrets"], "verbs": ["create", "deletecollection"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create", "deletecollection"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "create", "deletecollection"]},
]
"""What it may besides where sessions are."""


def _rule(group: str, resources: Sequence[str], operations: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": list(operations), "resources": list(resources)}


def _validations(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Expressions by what is told when they are false.

    Where one has `dyn`, Kubernetes' checker does not know a field: of another kind, or `limits`. It would only warn.
    """
    return [{"expression": " ".join(expression.split()), "message": message} for message, expression in texts.items()]


def executor_policy(image: str) -> dict[str, Any]:
    """What a pod must be where executors are, beyond what Kubernetes' level `restricted` says.

    The level keeps out privileges, folders of the machine, its network and its ports. This keeps a pod to the image of
    sessions, to its user's number, which is all that protects homes, and to an end that its user cannot put off.
    """
    image = json.dumps(image)
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_rule("", ["pods"], ["CREATE"])]},
        "validations": _validations(
            {
                "an executor is one container, of the image of sessions": f"""
                    size(object.spec.containers) == 1 && object.spec.containers[0].image == {image} &&
                    (!has(object.spec.initContainers) || size(object.spec.initContainers) == 0) &&
                    (!has(object.spec.ephemeralContainers) || size(object.spec.ephemeralContainers) == 0)""",
                "an executor runs as its user": f"""
                    has(object.spec.securityContext) && has(object.spec.securityContext.runAsUser) &&
                    string(object.spec.securityContext.runAsUser) == namespaceObject.metadata.labels['{UID_LABEL}'] &&
                    has(object.spec.securityContext.runAsGroup) &&
                    object.spec.securityContext.runAsGroup == {GROUP_ID} &&
                    (!has(object.spec.securityContext.fsGroup) ||
                        object.spec.securityContext.fsGroup == {GROUP_ID}) &&
                    (!has(object.spec.securityContext.supplementalGroups) ||
                        size(object.spec.securityContext.supplementalGroups) == 0) &&
                    object.spec.containers.all(c, has(c.securityContext) &&
                        !has(c.securityContext.runAsUser) && !has(c.securityContext.runAsGroup))""",
                "an executor has volumes of its namespace only, and cannot write to software": """
                    !has(object.spec.volumes) || object.spec.volumes.all(v, has(v.emptyDir) || has(v.secret) ||
                        (has(v.persistentVolumeClaim) && (v.persistentVolumeClaim.claimName == 'eos' ||
                            (v.persistentVolumeClaim.claimName == 'cvmfs' &&
                                has(v.persistentVolumeClaim.readOnly) && v.persistentVolumeClaim.readOnly))))""",
                "an executor has no account of Kubernetes": """
                    has(object.spec.automountServiceAccountToken) && !object.spec.automountServiceAccountToken &&
                    (!has(object.spec.serviceAccountName) || object.spec.serviceAccountName == 'default')""",
                "Kubernetes chooses an executor's machine, among those of sessions": f"""
                    !has(object.spec.nodeName) &&
                    (!has(object.spec.schedulerName) || object.spec.schedulerName == 'default-scheduler') &&
                    (!has(object.spec.priorityClassName) || object.spec.priorityClassName == '') &&
                    (!has(object.spec.tolerations) || object.spec.tolerations.all(t, has(t.key) &&
                        t.key in {json.dumps(_TOLERATED)}))""",
                "an executor ends when it is told to": """
                    (!has(object.metadata.finalizers) || size(object.metadata.finalizers) == 0) &&
                    has(object.spec.terminationGracePeriodSeconds) &&
                    object.spec.terminationGracePeriodSeconds <= 30""",
                "an executor writes within its limits": """
                    dyn(object.spec.containers).all(c, has(c.securityContext) &&
                        has(c.securityContext.readOnlyRootFilesystem) && c.securityContext.readOnlyRootFilesystem &&
                        has(c.resources) && has(c.resources.limits) && 'ephemeral-storage' in c.resources.limits &&
                        c.terminationMessagePath == '/root/termination-log')""",
            }
        ),
    }


HUB_POLICY: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": {
        "resourceRules": [
            _rule("", ["namespaces", "persistentvolumes"], ["CREATE", "UPDATE", "DELETE"]),
            _rule("", ["serviceaccounts", "secrets", "persistentvolumeclaims", "resourcequotas"], ["CREATE", "UPDATE"]),
            _rule("", ["services"], ["CREATE", "UPDATE"]),
            _rule("networking.k8s.io", ["networkpolicies"], ["CREATE", "UPDATE"]),
            _rule("rbac.authorization.k8s.io", ["rolebindings"], ["CREATE", "UPDATE"]),
        ]
    },
    "matchConditions": [{"name": "is-the-hub", "expression": f"request.userInfo.username == '{_HUB}'"}],
    "validations": _validations(
        {
            "the hub makes namespaces for executors only, of the level restricted": f"""
                request.resource.resource != 'namespaces' || request.operation == 'DELETE' ||
                (object.metadata.name.startsWith('{PREFIX}') && has(object.metadata.labels) &&
                    {json.dumps(UID_LABEL)} in object.metadata.labels &&
                    'cygnet.io/part' in object.metadata.labels &&
                    object.metadata.labels['cygnet.io/part'] == 'spark' &&
                    'pod-security.kubernetes.io/enforce' in object.metadata.labels &&
                    object.metadata.labels['pod-security.kubernetes.io/enforce'] == 'restricted')""",
            "the hub removes what is for executors only": f"""
                request.operation != 'DELETE' || oldObject.metadata.name.startsWith('{PREFIX}')""",
            "the hub makes volumes of software and homes only, for executors": f"""
                request.resource.resource != 'persistentvolumes' || request.operation == 'DELETE' ||
                (object.metadata.name.startsWith('{PREFIX}') && has(dyn(object).spec.hostPath) &&
                    dyn(object).spec.hostPath.path in {json.dumps(FOLDERS)} && has(dyn(object).spec.claimRef) &&
                    dyn(object).spec.claimRef.namespace.startsWith('{PREFIX}'))""",
            "the hub makes these where executors or sessions are only": f"""
                request.resource.resource in ['namespaces', 'persistentvolumes'] ||
                request.namespace.startsWith('{PREFIX}') ||
                (request.namespace == '{SESSIONS_NAMESPACE}' && request.resource.resource in
                    ['serviceaccounts', 'secrets', 'services', 'persistentvolumeclaims', 'networkpolicies'])""",
            "the hub makes ways from outside to sessions of a cluster only, by ports of their own node": f"""
                request.resource.resource != 'services' ||
                (dyn(object).spec.type == 'NodePort' && dyn(object).spec.externalTrafficPolicy == 'Local' &&
                    !has(dyn(object).spec.externalIPs) && has(dyn(object).spec.selector) &&
                    {json.dumps(spark_standalone.CLUSTER_LABEL)} in dyn(object).spec.selector &&
                    '{USERNAME_LABEL}' in dyn(object).spec.selector &&
                    dyn(object).spec.ports.all(p, p.nodePort >= {spark_yarn.NODE_PORTS[0]} &&
                        p.targetPort == p.nodePort))""",
        }
    ),
}
"""What of all that its role says the hub may make and remove; a hub that was taken over does no more."""

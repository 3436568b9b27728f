"""Spark: clusters that users may choose beside their session, for executors of a driver in the notebook.

A cluster is of a kind. Of `kubernetes`, executors are pods in a namespace that the hub makes for one session and
removes with it (images/hub/cygnet_hub/spark.py). Here is what keeps everybody to that: roles, and the admission
policies of `components.spark_policies`. Those of kind `standalone` are made by `components.spark_standalone`; of kind
`yarn` there is nothing to be made before a session.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components import spark_networks, spark_standalone, spark_yarn
from components.cluster import OwnCluster
from components.existing_cluster import ExistingCluster
from components.permissions import deny, grant, service_account
from components.policies import HUB_NAMESPACE
from components.registry import Registry
from components.sign_in.rights import RightsConfig
from components.software import SPARK_LINK
from components.spark_config import SparkClusterConfig, SparkConfig
from components.spark_policies import executor_policy, hub_policy
from components.storage import Storage

LABELS = {"cygnet.io/part": "spark"}
DRIVER_ROLE = "cygnet-spark-driver"


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
        if config.open_networks:
            self.told["open_networks"] = {name: spark_networks.told(of) for name, of in config.open_networks.items()}
        secrets = spark_standalone.declare(
            config.standalone,
            open_networks=config.open_networks,
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
            api = pulumi.Output.all(cluster.api_servers, cluster.api_port)
            of_sessions = api.apply(lambda known: hub_policy(config, api_servers=known[0], api_port=known[1]))
            of_hub = deny("spark-hub", {"name": "cygnet-spark-hub"}, of_sessions, inside)
            self._roles(pulumi.ResourceOptions.merge(of_executors, of_hub))
            self.settings = api.apply(
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
    size = cluster.executors
    networks = {"open_networks": spark_networks.told(size.open_networks)}
    if cluster.standalone:
        return {"master": spark_standalone.master(name), **networks}
    return {**networks, "cores_guaranteed": size.cores / 10 if size.cores_guaranteed is None else size.cores_guaranteed}


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
"""What the hub may anywhere, as far as its admission policy lets it: namespaces that it makes are not there before."""

HUB_RULES_IN_SESSIONS: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["serviceaccounts", "secrets"], "verbs": ["create", "deletecollection"]},
    {"apiGroups": ["networking.k8s.io"], "resources": ["networkpolicies"], "verbs": ["create", "deletecollection"]},
    {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "create", "deletecollection"]},
]
"""What it may besides where sessions are."""

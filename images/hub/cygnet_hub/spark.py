"""Clusters for Spark: what a session gets that has one, just before it starts, and what is taken away after its end.

A session has settings with which Spark finds its cluster by itself, and a secret that driver and executors share. With
one of kind `kubernetes` it gets a namespace of its own besides, and the right to make pods there; with one of kind
`yarn`, ports of its node. What pods there may be, Kubernetes decides: by its level `restricted`, by a quota, and by the
admission policy that the stack makes (components/spark.py), which asks for the image and the user's own number.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import secrets
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubernetes_asyncio.client import ApiException
from kubespawner.clients import load_config, shared_client
from kubespawner.slugs import is_valid_label, safe_slug

from cygnet_hub import counted, executors, standalone, yarn
from cygnet_hub.clusters import (
    NONE,
    OPTION,
    OWNER,
    USERNAME,
    AnyCluster,
    KubernetesCluster,
    Manifest,
    Owner,
    SparkSettings,
    StandaloneCluster,
    YarnCluster,
    given,
)
from cygnet_hub.drivers import TOLD
from cygnet_hub.executors import FOLDERS, PART
from cygnet_hub.guests import AWAY, SECONDS
from cygnet_hub.start import Refusal

KEYS = Path("/etc/cygnet/secrets")
"""Where the hub has the secrets of standalone clusters, by their names."""
_STALE_SECONDS = 600
_TRIES = 10
"""How often ports are chosen that somebody else has taken meanwhile."""
_NOT_FOUND, _INVALID = 404, 422


class Executors:
    """What the spawner does before a session with a cluster starts (`give`), and after any has ended (`take`)."""

    def __init__(self, settings: SparkSettings, clusters: Iterable[AnyCluster]) -> None:
        self._settings = settings
        self._clusters = {cluster.name: cluster for cluster in clusters}

    def __deepcopy__(self, _: Any) -> Executors:
        """What traitlets makes of a setting."""
        return self

    async def give(self, spawner: Any, pod: Any) -> Any:
        """The session's pod with what it needs for its cluster, where one was chosen.

        Raises:
            HTTPError: 503, Kubernetes does not make what the cluster needs.
        """
        cluster = self._clusters.get(spawner.user_options.get(OPTION, NONE))
        if cluster is None:
            return pod
        load_config()
        manifest = spawner.api.api_client.sanitize_for_serialization(pod)
        manifest["metadata"]["namespace"] = spawner.namespace
        owner = Owner.of(manifest)
        try:
            await self._sweep(spawner, owner.slug)
            port = await _ports(cluster, owner) if isinstance(cluster, YarnCluster) else 0
            for step in made(cluster, owner, self._settings, port):
                await asyncio.gather(*(_create(kind, body) for kind, body in step))
        except AWAY as error:
            spawner.log.error("%s: no cluster for Spark: %s", spawner._log_name, error)
            raise Refusal(
                503,
                "Your Spark cluster cannot be made ready now. Try again in a minute, or start without one.",
                counted.OTHER,
            ) from error
        if isinstance(cluster, KubernetesCluster):
            pod = executors.with_rights(pod, owner)
        return given(pod, cluster, owner, self._settings, TOLD)

    async def take(self, spawner: Any) -> None:
        """Takes away what a session had: with the namespace go its executors."""
        load_config()
        slug = safe_slug(spawner.user.name, is_valid=is_valid_label)
        try:
            await self._remove(slug, spawner.namespace)
        except AWAY as error:
            spawner.log.error("%s: its executors stay until the next session starts: %s", spawner._log_name, error)

    async def _sweep(self, spawner: Any, slug: str) -> None:
        """Removes what is left of this user's former session, and of others who have none."""
        await self._remove(slug, spawner.namespace)
        core, selector = shared_client("CoreV1Api"), f"{PART}={OPTION}"
        found = (await core.list_namespace(label_selector=selector, _request_timeout=SECONDS)).items
        with_session = {pod["metadata"]["labels"].get(USERNAME) for pod in spawner.pod_reflector.pods.values()}
        ages = {
            one.metadata.labels.get(OWNER, ""): (dt.datetime.now(dt.UTC) - one.metadata.creation_timestamp)
            for one in found
            if one.metadata.deletion_timestamp is None
        }
        for other, age in ages.items():
            if other != slug and other not in with_session and age.total_seconds() > _STALE_SECONDS:
                await self._remove(other, spawner.namespace)

    async def _remove(self, slug: str, sessions: str) -> None:
        core, selector = shared_client("CoreV1Api"), f"{OWNER}={slug}"
        networking = shared_client("NetworkingV1Api")
        found = (await core.list_namespace(label_selector=selector, _request_timeout=SECONDS)).items
        for name in (one.metadata.name for one in found if one.metadata.deletion_timestamp is None):
            await _gone(core.delete_namespace(name, _request_timeout=SECONDS))
            for folder in FOLDERS:
                await _gone(core.delete_persistent_volume(f"{name}-{folder}", _request_timeout=SECONDS))
        for delete in (
            core.delete_collection_namespaced_service_account,
            core.delete_collection_namespaced_secret,
            core.delete_collection_namespaced_service,
            networking.delete_collection_namespaced_network_policy,
        ):
            await delete(sessions, label_selector=selector, _request_timeout=SECONDS)


def made(cluster: AnyCluster, owner: Owner, settings: SparkSettings, port: int = 0) -> list[list[Manifest]]:
    """All that is made for a session, in steps. Raises OSError where the hub does not know the cluster's secret.

    Args:
        cluster: Which one was chosen.
        owner: Of whose session.
        settings: What all clusters have in common.
        port: The first by which drivers are reached from outside, where they are.
    """
    if isinstance(cluster, YarnCluster):
        return yarn.made(cluster, owner, port)
    if isinstance(cluster, StandaloneCluster):
        # Read each time: it may have been made anew.
        secret = (KEYS / f"spark-{cluster.name}").read_text(encoding="ascii").strip()
        return standalone.made(cluster, owner, settings, secret)
    return executors.made(cluster, owner, settings, secrets.token_bytes(32))


def hooks(settings: SparkSettings | None, clusters: Sequence[AnyCluster]) -> dict[str, Any]:
    """What the spawner does before and after sessions, where there are clusters."""
    if settings is None:
        return {}
    those = Executors(settings, clusters)
    return {"modify_pod_hook": those.give, "post_stop_hook": those.take}


def choices(clusters: Sequence[AnyCluster]) -> dict[str, dict[str, Any]]:
    """The choices of a cluster, as the spawner wants them; what one means is made when the session starts."""
    if not clusters:
        return {}
    without: dict[str, Any] = {
        "display_name": "None",
        "description": "No executors beside the session",
        "default": True,
    }
    there = {one.name: {"display_name": one.title, "description": one.description} for one in clusters}
    return {name: {**one, "kubespawner_override": {}} for name, one in {NONE: without, **there}.items()}


async def _ports(cluster: YarnCluster, owner: Owner) -> int:
    """Takes ports of nodes for a session; gives the first. Raises Refusal where there are none."""
    core = shared_client("CoreV1Api")
    found = (await core.list_namespaced_service(owner.sessions, _request_timeout=SECONDS)).items
    taken = {one.node_port for service in found for one in service.spec.ports or () if one.node_port}
    for port in itertools.islice(yarn.free(taken), _TRIES):
        try:
            await _create(*yarn.service(cluster, owner, port))
        except ApiException as error:
            if error.status != _INVALID:
                raise
        else:
            return port
    raise Refusal(
        503,
        "There are as many sessions with this cluster as can be reached. Try again later, or start without one.",
        counted.OTHER,
    )


async def _gone(deleting: Awaitable[Any]) -> None:
    try:
        await deleting
    except ApiException as error:
        if error.status != _NOT_FOUND:
            raise


_MAKERS: dict[str, tuple[str, str]] = {
    "Namespace": ("CoreV1Api", "create_namespace"),
    "PersistentVolume": ("CoreV1Api", "create_persistent_volume"),
    "PersistentVolumeClaim": ("CoreV1Api", "create_namespaced_persistent_volume_claim"),
    "ResourceQuota": ("CoreV1Api", "create_namespaced_resource_quota"),
    "Secret": ("CoreV1Api", "create_namespaced_secret"),
    "Service": ("CoreV1Api", "create_namespaced_service"),
    "ServiceAccount": ("CoreV1Api", "create_namespaced_service_account"),
    "RoleBinding": ("RbacAuthorizationV1Api", "create_namespaced_role_binding"),
    "NetworkPolicy": ("NetworkingV1Api", "create_namespaced_network_policy"),
}


async def _create(kind: str, body: Mapping[str, Any]) -> None:
    api, method = _MAKERS[kind]
    where = [body["metadata"]["namespace"]] if "namespace" in body["metadata"] else []
    await getattr(shared_client(api), method)(*where, body, _request_timeout=SECONDS)

"""CVMFS on machines that are not the stack's: a pod on each mounts the repositories, as the role does elsewhere.

What a pod mounts is the machine's too (mount propagation "Bidirectional"), and so every session's there. That takes a
privileged pod; nothing but Kubernetes talks to it.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import Cluster
from components.cvmfs import DIRECT, CvmfsConfig, mounts
from components.kubernetes import container, digest, pod_template
from components.registry import Registry
from components.software import FOLDER

_NAME: Final = "cvmfs"
_LABELS: Final = {"app.kubernetes.io/name": _NAME}
_SETTINGS: Final = "/etc/cygnet/cvmfs"
_CACHE: Final = "/var/lib/cygnet-cvmfs"
_TIMEOUT_SECONDS: Final = 10


class CvmfsPods(pulumi.ComponentResource):
    """Mounts repositories on every machine of a cluster, straight from their servers where the site has no proxy.

    Gives `folder`, known when all of them are mounted there (None without any), and `repositories` as they are mounted.
    """

    folder: pulumi.Output[str] | None
    repositories: Sequence[Mapping[str, Any]]

    def __init__(
        self,
        name: str,
        config: CvmfsConfig,
        *,
        cluster: Cluster,
        registry: Registry,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Cvmfs", name, None, opts)
        self.repositories = mounts(config, (), own_proxy=DIRECT)
        self.folder = self._mount(name, config, cluster, registry) if self.repositories else None
        self.register_outputs({"repositories": self.repositories})

    def _mount(self, name: str, config: CvmfsConfig, cluster: Cluster, registry: Registry) -> pulumi.Output[str]:
        inside = cluster.inside(self)
        metadata = {"name": _NAME, "namespace": cluster.namespace(_NAME, level="privileged", parent=self)}
        nobody = {"podSelector": {}, "policyTypes": ["Ingress"]}
        k8s.networking.v1.NetworkPolicy(name, metadata=metadata, spec=nobody, opts=inside)
        files = settings(self.repositories, cache_gib=config.cache_gib, poll_seconds=config.poll_seconds)
        k8s.core.v1.ConfigMap(name, metadata=metadata, data=files, opts=inside)
        names = [str(repository["name"]) for repository in self.repositories]
        pods = k8s.apps.v1.DaemonSet(
            name,
            metadata=metadata,
            spec=pulumi.Output.all(registry.image(_NAME), digest(files)).apply(
                lambda given: daemon_set_spec(given[0], names, given[1])
            ),
            opts=inside,
        )
        return pods.id.apply(lambda _: FOLDER)


def settings(repositories: Sequence[Mapping[str, Any]], *, cache_gib: float, poll_seconds: int) -> dict[str, str]:
    """The files that clients read, by name: a configuration of `swfs` for each repository, and public keys.

    Args:
        repositories: Name, servers, proxies and public keys of each, as `Cvmfs.repositories` has them.
        cache_gib: Of each machine's disk, for each repository.
        poll_seconds: After which a new revision is seen.
    """
    keys = {_key_file(key): key for repository in repositories for key in repository["public_keys"]}
    configurations = {
        f"{repository['name']}.json": json.dumps(
            {
                "repository": repository["name"],
                "servers": repository["servers"],
                "proxies": repository["proxies"],
                "public_keys": [f"{_SETTINGS}/{_key_file(key)}" for key in repository["public_keys"]],
                "cache": f"{_CACHE}/{repository['name']}",
                "quota_mib": round(cache_gib * 1024),
                "poll_seconds": poll_seconds,
                "timeout_seconds": _TIMEOUT_SECONDS,
            },
            indent=2,
        )
        for repository in repositories
    }
    return {**keys, **configurations}


def daemon_set_spec(image: str, names: Sequence[str], started_with: str) -> dict[str, Any]:
    """A pod on every machine, with a container for each repository.

    Args:
        image: With `swfs`.
        names: Of the repositories.
        started_with: A digest of the settings; other ones start the clients anew.
    """
    template = pod_template(
        _LABELS,
        *(_client(image, name) for name in names),
        annotations={"cygnet.io/settings": started_with},
        volumes={
            "settings": {"configMap": {"name": _NAME}},
            "repositories": {"hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}},
            "cache": {"hostPath": {"path": _CACHE, "type": "DirectoryOrCreate"}},
        },
    )
    # Sessions may run on machines with taints, too, such as those with GPUs.
    template["spec"]["tolerations"] = [{"operator": "Exists"}]
    template["spec"]["securityContext"] = {}
    return {"selector": {"matchLabels": _LABELS}, "template": template}


def _client(image: str, name: str) -> dict[str, Any]:
    client = container(
        f"client-{hashlib.sha256(name.encode()).hexdigest()[:8]}",
        image,
        args=[f"{_SETTINGS}/{name}.json", f"{FOLDER}/{name}"],
        mounts={"settings": _SETTINGS, "cache": _CACHE},
        requests={"cpu": "20m", "memory": "64Mi"},
        limits={"memory": "1Gi"},
        # The server of a file system that hangs does not get to answer; its restart clears the mount away.
        ready=_answers(name),
    )
    client["volumeMounts"].append({"name": "repositories", "mountPath": FOLDER, "mountPropagation": "Bidirectional"})
    client["livenessProbe"] = {**_answers(name), "initialDelaySeconds": 60, "failureThreshold": 3}
    client["securityContext"] = {"privileged": True, "readOnlyRootFilesystem": True, "runAsUser": 0}
    return client


def _answers(name: str) -> dict[str, Any]:
    return {
        # Below it is an empty folder, which answers, too.
        "exec": {"command": ["mountpoint", "--quiet", f"{FOLDER}/{name}"]},
        "periodSeconds": 10,
        "timeoutSeconds": 5,
    }


def _key_file(key: str) -> str:
    return f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.pub"

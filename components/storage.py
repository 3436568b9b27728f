"""Storage: volumes that every machine of the cluster sees, such as homes."""

from collections.abc import Mapping
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field, model_validator

from components.base import PartConfig
from components.cluster import Cluster
from components.kubernetes import container, pod_template
from components.permissions import grant, service_account
from components.registry import Registry

_NAMESPACE = "storage"
_CLASS = "shared"


class StorageConfig(PartConfig):
    """What a stack says about its storage, under `cygnet:storage`."""

    folder: Annotated[
        str, Field(pattern=r"^/[\w/.-]+$", description="Folder that is the same on every machine, for example a mount")
    ] = "/srv/cygnet"
    storage_class: Annotated[
        str | None,
        Field(
            pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$",
            description="A StorageClass that is there, whose volumes can be mounted by several machines "
            "(ReadWriteMany); none: the stack makes one of that folder",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_one_of_both(self) -> "StorageConfig":
        if self.storage_class and "folder" in self.model_fields_set:
            raise ValueError("storage_class is in place of folder; remove one of the two")
        return self


class Storage(pulumi.ComponentResource):
    """Volumes that all machines share: of a StorageClass that is there, or of one for folders. Stands on a cluster.

    Gives `storage_class`, its name, and `folder`, where its volumes are on every machine (None with one that is there).
    """

    storage_class: pulumi.Output[str]
    folder: str | None

    def __init__(
        self,
        name: str,
        config: StorageConfig,
        *,
        cluster: Cluster,
        registry: Registry,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Storage", name, None, opts)
        if config.storage_class:
            self.folder = None
            self.storage_class = pulumi.Output.from_input(config.storage_class)
        else:
            self.folder = config.folder
            self.storage_class = self._make(name, config, cluster, registry)
        self.register_outputs({"storage_class": self.storage_class})

    def _make(self, name: str, config: StorageConfig, cluster: Cluster, registry: Registry) -> pulumi.Output[str]:
        """The default StorageClass of the cluster."""
        inside = cluster.inside(self)
        # It makes folders on the machine that runs it, and may therefore mount one.
        namespace = cluster.namespace(_NAMESPACE, level="privileged", parent=self)
        metadata = {"name": "provisioner", "namespace": namespace}
        k8s.core.v1.ServiceAccount(name, metadata=metadata, opts=inside)
        grant(name, {"name": "cygnet-storage"}, RULES, service_account("provisioner", namespace), inside)
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=registry.image("storage-provisioner").apply(lambda image: provisioner_spec(config, image)),
            opts=inside,
        )
        made = k8s.storage.v1.StorageClass(
            name,
            metadata={"name": _CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            provisioner="cygnet/shared-folder",
            parameters={"uid": "1000", "gid": "100", "mode": "0770"},  # the user of sessions and of the hub
            reclaim_policy="Retain",
            opts=inside,
        )
        return made.metadata.apply(lambda given: str(given.name))

    def claim(
        self,
        name: str,
        *,
        metadata: Mapping[str, Any],
        access: str = "ReadWriteOnce",
        opts: pulumi.ResourceOptions,
    ) -> None:
        """Makes a volume for what one pod of the service keeps, or several (`access` "ReadWriteMany")."""
        k8s.core.v1.PersistentVolumeClaim(
            name,
            metadata=dict(metadata),
            spec={
                "storageClassName": self.storage_class,
                "accessModes": [access],
                "resources": {"requests": {"storage": "1Gi"}},
            },
            opts=opts,
        )


def provisioner_spec(config: StorageConfig, image: str) -> dict[str, Any]:
    """Makes a folder of the shared tree for every claim; it is root there, to give the folder to its user."""
    labels = {"app.kubernetes.io/name": "storage-provisioner"}
    provisioner = container(
        "storage-provisioner",
        image,
        args=["-root=/shared", f"-node-root={config.folder}"],
        mounts={"shared": "/shared"},
        requests={"cpu": "10m", "memory": "32Mi"},
        limits={"memory": "128Mi"},
    )
    provisioner["securityContext"] |= {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN", "DAC_OVERRIDE", "FOWNER"]},
    }
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": pod_template(
            labels,
            provisioner,
            volumes={"shared": {"hostPath": {"path": config.folder, "type": "Directory"}}},
            service_account="provisioner",
            on_control_plane=True,
        ),
    }


RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["persistentvolumes"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch", "update"]},
    {"apiGroups": ["storage.k8s.io"], "resources": ["storageclasses"], "verbs": ["get", "list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "update", "patch"]},
]  # fmt: skip
"""What the storage provisioner may do in the cluster."""

"""Files: a web page of everyone's home and of experiment data, and links that open without sign-in."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field

from components import copyparty
from components.auth import Auth
from components.base import PartConfig
from components.cluster import OwnCluster
from components.copyparty import KEY_VARIABLE, PORT, settings
from components.eos import EVERYONE, DataConfig, Eos, EosConfig, serves
from components.files_routes import at_page, at_service
from components.gateway_config import Site
from components.kubernetes import SCRATCH, container, digest, pod_template
from components.machines import Machines
from components.playbook import Playbook
from components.policies import HUB_NAMESPACE, SIGN_IN_PORT, in_hub, in_namespace, tcp
from components.registry import Registry
from components.secrets import Token
from components.storage import Storage

_NAMESPACE = "files"
_LABELS = {"app.kubernetes.io/name": "files"}
_PREVIEW_PORT = 3924
_FOLDER = "/srv/files"  # on the machine: what the server of EOS has, without its symbolic links
_SETTINGS = "/etc/cygnet"
_STATE = "/var/lib/files"
_OWNER = 1094  # of all files on the disk of the server of EOS
_VOLUMES_GROUP = 100  # to which the storage gives its volumes


class FilesConfig(PartConfig):
    """What a stack says about its page of files, under `cygnet:files`."""

    enabled: Annotated[
        bool, Field(description="Whether there is such a page; it is of the stack's own /eos, and not without that")
    ] = True
    https_port: Annotated[
        int, Field(ge=1, le=65535, description="TCP port of the page, which is an origin of its own in browsers")
    ] = 9443
    share_days_max: Annotated[int, Field(ge=1, le=3650, description="Days after which every link to files ends")] = 30


class Files(pulumi.ComponentResource):
    """copyparty, and a preview of notebooks, over the folders that the stack's own /eos is made of.

    Stands on cluster, storage, eos, auth, and the hub's service for signing in. Gives `site`, for the gateway, and
    `told`, for people.
    """

    site: Site
    told: dict[str, Any]

    def __init__(
        self,
        name: str,
        config: FilesConfig,
        *,
        cluster: OwnCluster,
        machines: Machines,
        registry: Registry,
        storage: Storage,
        eos: Eos,
        data: Mapping[str, DataConfig],
        auth: Auth,
        service_port: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Files", name, None, opts)
        inside = cluster.inside(self)
        mounted = Playbook(
            name,
            "files.yml",
            hosts=machines.hosts.apply(lambda hosts: hosts[:1]),
            private_key=machines.private_key,
            variables={},
            opts=pulumi.ResourceOptions(parent=self, depends_on=[eos]),
        )
        namespace = cluster.namespace(_NAMESPACE, parent=self)
        metadata = {"name": "files", "namespace": namespace}
        made = Token(name, rotates="files", length=16, opts=pulumi.ResourceOptions(parent=self))
        key = made.value.apply(lambda value: f"x-key-{value}")
        names = [] if eos.guests else sorted(auth.user_ids)
        written = settings(
            names,
            groups_that_may(data) if eos.guests else who_may(data, auth.groups, names),
            folder=_FOLDER,
            state=_STATE,
            trusted=str(cluster.pod_network),
            guests=eos.guests is not None,
        )
        k8s.core.v1.ConfigMap(name, metadata=metadata, data={"copyparty.conf": written}, opts=inside)
        k8s.core.v1.Secret(name, metadata=metadata, string_data={KEY_VARIABLE: key}, opts=inside)
        k8s.networking.v1.NetworkPolicy(name, metadata=metadata, spec=NETWORK_POLICY, opts=inside)
        cluster.machines_folder("files", _FOLDER, "ReadWriteMany", namespace=namespace, parent=self)
        storage.claim(f"{name}-links", metadata={"name": "links", "namespace": namespace}, opts=inside)
        k8s.apps.v1.Deployment(
            name,
            metadata=metadata,
            spec=pulumi.Output.all(
                image=registry.image("files"), node=cluster.node, started_with=digest(written, key, mounted.id)
            ).apply(lambda given: deployment_spec(config, **given)),
            opts=inside,
        )
        ports = [{"name": "files", "port": PORT}, {"name": "preview", "port": _PREVIEW_PORT}]
        k8s.core.v1.Service(name, metadata=metadata, spec={"selector": _LABELS, "ports": ports}, opts=inside)
        self.site = site(config, service_port, key)
        self.told = {"share_days_max": config.share_days_max}
        self.register_outputs({"told": self.told})


def has_page(config: FilesConfig, eos: EosConfig) -> bool:
    """Whether a stack has a page of files: it is of the folders of its own server, and of no other."""
    return config.enabled and serves(eos)


def who_may(
    data: Mapping[str, DataConfig], groups: Mapping[str, Sequence[str]], everyone: Sequence[str]
) -> dict[str, tuple[list[str], list[str]]]:
    """Who may read and who may change each folder of experiment data, by name; who may change it is in the second list.

    >>> who_may({"opendata": DataConfig(readers="everyone", writers=("lab",))}, {"lab": ["bob"]}, ["ada", "bob"])
    {'opendata': (['ada'], ['bob'])}
    """

    def members(named: Sequence[str]) -> set[str]:
        return {name for group in named for name in groups.get(group, ())}

    found = {}
    for folder, given in data.items():
        writers = members(given.writers)
        readers = set(everyone) if given.readers == EVERYONE else members(given.readers)
        found[folder] = (sorted(readers - writers), sorted(writers))
    return found


def groups_that_may(data: Mapping[str, DataConfig]) -> dict[str, tuple[list[str], list[str]]]:
    """The same where it is groups alone that are known, as copyparty names them.

    >>> groups_that_may({"opendata": DataConfig(readers="everyone")})
    {'opendata': (['@acct'], [])}
    """
    found = {}
    for folder, given in data.items():
        readers = (
            [copyparty.EVERYONE]
            if given.readers == EVERYONE
            else [copyparty.group(one) for one in given.readers if one not in given.writers]
        )
        found[folder] = (readers, [copyparty.group(one) for one in given.writers])
    return found


def site(config: FilesConfig, service_port: int, key: pulumi.Input[str]) -> Site:
    """The page at the gateway: its port, and where the gateway goes for it.

    Args:
        config: What the stack says.
        service_port: HTTPS port of the service.
        key: Name of the header by which copyparty knows the gateway.
    """
    sign_in = f"hub.{HUB_NAMESPACE}.svc:{SIGN_IN_PORT}"
    there = f"files.{_NAMESPACE}.svc"
    return Site(
        name="files",
        https_port=config.https_port,
        routes=at_page(
            service_port,
            config.https_port,
            sign_in=sign_in,
            files=f"{there}:{PORT}",
            preview=f"{there}:{_PREVIEW_PORT}",
        ),
        service_routes=at_service(service_port, config.https_port, sign_in),
        variables={KEY_VARIABLE: key},
        egress=[
            {"to": [in_hub("hub")], "ports": [tcp(SIGN_IN_PORT)]},
            {"to": [in_namespace(_NAMESPACE)], "ports": [tcp(PORT), tcp(_PREVIEW_PORT)]},
        ],
    )


NETWORK_POLICY: dict[str, Any] = {
    "podSelector": {},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": [in_namespace("gateway")], "ports": [tcp(PORT), tcp(_PREVIEW_PORT)]}],
    "egress": [],
}
"""The page answers the gateway and nobody else, and asks nobody."""


def deployment_spec(config: FilesConfig, *, image: str, node: str, started_with: str) -> dict[str, Any]:
    """One copyparty, on the machine where the files are, and one preview, which has no files.

    Args:
        config: What the stack says.
        image: Of both.
        node: The machine.
        started_with: A digest of what is read at the start only.
    """
    files = container(
        "files",
        image,
        args=["cygnet_files", f"{_SETTINGS}/copyparty.conf", f"{_STATE}/shares.db", str(config.share_days_max)],
        ports={"files": PORT},
        mounts={"settings": _SETTINGS, "files": _FOLDER, "state": _STATE, "scratch": SCRATCH},
        env={
            KEY_VARIABLE: {"secretKeyRef": {"name": "files", "key": KEY_VARIABLE}},
            "XDG_CONFIG_HOME": _STATE,
        },
        requests={"cpu": "20m", "memory": "80Mi"},
        limits={"memory": "512Mi"},
        ready={"tcpSocket": {"port": "files"}, "periodSeconds": 2},
    )
    preview = container(
        "preview",
        image,
        args=["cygnet_files.notebooks", str(_PREVIEW_PORT), f"http://127.0.0.1:{PORT}"],
        ports={"preview": _PREVIEW_PORT},
        mounts={"scratch": SCRATCH},
        env={"HOME": SCRATCH},
        requests={"cpu": "10m", "memory": "80Mi"},
        limits={"memory": "512Mi"},
        ready={"tcpSocket": {"port": "preview"}, "periodSeconds": 2},
    )
    preview["securityContext"] |= {"runAsUser": 1000, "runAsGroup": 1000}
    template = pod_template(
        _LABELS,
        files,
        preview,
        annotations={"cygnet.io/settings": started_with},
        volumes={
            "settings": {"configMap": {"name": "files"}},
            "files": {"persistentVolumeClaim": {"claimName": "files"}},
            "state": {"persistentVolumeClaim": {"claimName": "links"}},
            "scratch": {"emptyDir": {}},
        },
        on_control_plane=True,
        node=node,
    )
    template["spec"]["securityContext"] = {
        "runAsUser": _OWNER, "runAsGroup": _OWNER, "supplementalGroups": [_VOLUMES_GROUP],
    }  # fmt: skip
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two cannot have one database of links
        "selector": {"matchLabels": _LABELS},
        "template": template,
    }

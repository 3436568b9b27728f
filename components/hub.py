"""The hub: JupyterHub, which signs people in and gives each of them a session of their own."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
import yaml
from pydantic import Field, StringConstraints, model_validator

from components.auth import Auth, user_id
from components.base import PartConfig
from components.cluster import Cluster
from components.cvmfs import Cvmfs
from components.eos import Eos
from components.kubernetes import SCRATCH, container, digest, images_spec, pod_template
from components.policies import (
    HUB_NAMESPACE,
    HUB_PORT,
    IMAGES_POLICY,
    PROXY_API_PORT,
    PROXY_POLICY,
    PROXY_PORT,
    SESSIONS_NAMESPACE,
    SIGN_IN_PORT,
    hub_policy,
    labels,
    session_policy,
)
from components.registry import Registry
from components.secrets import Token
from components.software import Software
from components.storage import Storage

_SETTINGS = "/etc/cygnet"
_SECRETS = "/etc/cygnet/secrets"
_DATABASE = "/srv/jupyterhub"
_MOVING = ("hub", "proxy")
"""Images of what there is one of and what another control plane can take over."""

HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)]


class HubConfig(PartConfig):
    """What a stack says about its hub and sessions, under `cygnet:hub`."""

    title: Annotated[str, Field(min_length=1, max_length=60, description="The service's name on its pages")] = "cygnet"
    cores: Annotated[float, Field(gt=0, le=256, description="Cores a session may use when they are free")] = 2
    cores_guaranteed: Annotated[float, Field(gt=0, le=256, description="Cores kept for each session")] = 0.1
    memory_gib: Annotated[float, Field(gt=0, le=4096, description="GiB of memory at which a session is ended")] = 2
    memory_gib_guaranteed: Annotated[float, Field(gt=0, le=4096, description="GiB of memory kept for each session")] = (
        0.5
    )
    idle_hours: Annotated[
        float, Field(ge=0, le=720, description="Hours without activity after which a session ends; 0: never")
    ] = 4
    active_session_limit: Annotated[
        int, Field(ge=0, le=100_000, description="Sessions at the same time; 0: as many as fit")
    ] = 0
    link_hosts: Annotated[
        tuple[HostName, ...],
        Field(description="Hosts from which links may bring git repositories into a home, by HTTPS; empty: from any"),
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _homes_are_eos(cls, given: Any) -> Any:
        if isinstance(given, dict) and "home_gib" in given:
            raise ValueError("home_gib is cygnet:eos.home_gib now; move it there")
        return given

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> "HubConfig":
        for limit in ("cores", "memory_gib"):
            guaranteed = f"{limit}_guaranteed"
            if getattr(self, guaranteed) > getattr(self, limit):
                raise ValueError(
                    f"{guaranteed} ({getattr(self, guaranteed):g}) is more than {limit} ({getattr(self, limit):g}); "
                    f"raise {limit}, or lower {guaranteed}"
                )
        return self


class Hub(pulumi.ComponentResource):
    """JupyterHub with its proxy, and the namespace of sessions. Stands on all that a session has, and on auth.

    Gives `proxy_address` ("name:port" inside the cluster, where a gateway sends users), `namespace` and
    `sessions_namespace`. A service of it signs people in to a page of files, where there is one (`with_files`).
    """

    proxy_address: pulumi.Output[str]
    namespace: pulumi.Output[str]
    sessions_namespace: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        config: HubConfig,
        *,
        cluster: Cluster,
        storage: Storage,
        registry: Registry,
        software: Software,
        cvmfs: Cvmfs,
        auth: Auth,
        eos: Eos,
        with_files: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Hub", name, None, opts)
        self._cluster = cluster
        self._inside = cluster.inside(self)
        self.namespace = cluster.namespace(HUB_NAMESPACE, parent=self)
        self.sessions_namespace = cluster.namespace(SESSIONS_NAMESPACE, parent=self)
        self._policies()
        self._permissions()
        self._present_images(registry)
        for_sessions = partial(cluster.machines_folder, namespace=self.sessions_namespace, parent=self)
        claims = {"cvmfs": for_sessions("cvmfs", cvmfs.folder, "ReadOnlyMany")}
        if eos.folder is not None:
            claims["eos"] = for_sessions("eos", eos.folder, "ReadWriteMany")
        secret = self._secret(auth)
        proxy = self._proxy(registry.image("proxy"))
        self._database(storage)
        settings = pulumi.Output.all(
            image=registry.image("session"),
            storage_class=storage.storage_class,
            releases=software.releases,
            claims=claims,
        ).apply(
            lambda given: hub_settings(
                config,
                **given,
                home_gib=eos.home_gib,
                trusted_networks=[str(cluster.config.pod_network)],
                with_files=with_files,
            )
        )
        self._hub(registry.image("hub"), settings.apply(yaml.safe_dump), secret)
        self.proxy_address = proxy.metadata.apply(lambda given: f"{given.name}.{given.namespace}.svc:{PROXY_PORT}")
        self.register_outputs({"proxy_address": self.proxy_address})

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": labels(name)}

    def _policies(self) -> None:
        policies: dict[str, pulumi.Input[dict[str, Any]]] = {
            "hub": self._cluster.api_servers.apply(hub_policy),
            "proxy": PROXY_POLICY,
            **({"moving-images": IMAGES_POLICY} if self._cluster.moves else {}),
        }
        for name, spec in policies.items():
            k8s.networking.v1.NetworkPolicy(name, metadata=self._metadata(name), spec=spec, opts=self._inside)
        k8s.networking.v1.NetworkPolicy(
            "sessions",
            metadata={"name": "sessions", "namespace": self.sessions_namespace},
            spec=self._cluster.inner_networks.apply(session_policy),
            opts=self._inside,
        )

    def _permissions(self) -> None:
        """The hub makes and removes sessions and homes, in the namespace of sessions and sees nodes."""
        account = {"kind": "ServiceAccount", "name": "hub", "namespace": self.namespace}
        k8s.core.v1.ServiceAccount("hub", metadata=self._metadata("hub"), opts=self._inside)
        there = {"name": "hub", "namespace": self.sessions_namespace}
        k8s.rbac.v1.Role("hub", metadata=there, rules=HUB_RULES, opts=self._inside)
        k8s.rbac.v1.RoleBinding(
            "hub",
            metadata=there,
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "hub"},
            subjects=[account],
            opts=self._inside,
        )
        # It tells users why no machine takes their session.
        k8s.rbac.v1.ClusterRole("hub", metadata={"name": "cygnet-hub"}, rules=NODE_RULES, opts=self._inside)
        k8s.rbac.v1.ClusterRoleBinding(
            "hub",
            metadata={"name": "cygnet-hub"},
            role_ref={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cygnet-hub"},
            subjects=[account],
            opts=self._inside,
        )

    def _present_images(self, registry: Registry) -> None:
        """Brings images to machines before they are needed.

        To every machine that takes sessions that of sessions, before the first user comes; to every control plane those
        of pods that come there when another one dies, which may be the one that has the registry.
        """
        pause = registry.image("pause")
        k8s.apps.v1.DaemonSet(
            "session-image",
            metadata={"name": "session-image", "namespace": self.sessions_namespace},
            spec=pulumi.Output.all(registry.image("session"), pause).apply(
                lambda given: images_spec("session-image", given[:1], given[1])
            ),
            opts=self._inside,
        )
        if self._cluster.moves:
            moving = pulumi.Output.all(*map(registry.image, _MOVING))
            k8s.apps.v1.DaemonSet(
                "moving-images",
                metadata=self._metadata("moving-images"),
                spec=pulumi.Output.all(moving, pause).apply(
                    lambda given: images_spec("moving-images", *given, on_control_plane=True)
                ),
                opts=self._inside,
            )

    def _secret(self, auth: Auth) -> pulumi.Output[str]:
        """Makes the hub's Secret; gives a digest of what in it the hub reads at its start only."""
        made = {
            key: Token(f"hub-{key}", opts=pulumi.ResourceOptions(parent=self)).value
            for key in ("proxy-token", "cookie-secret", "crypt-key")
        }
        accounts = auth.hashes.apply(lambda hashes: json.dumps(accounts_file(hashes, auth.admins), sort_keys=True))
        secret = k8s.core.v1.Secret(
            "hub",
            metadata=self._metadata("hub"),
            string_data={**made, "accounts.json": accounts},
            opts=self._inside,
        )
        # Not of the accounts: the hub reads them again by itself.
        return digest(secret.id, *made.values())

    def _proxy(self, image: pulumi.Output[str]) -> k8s.core.v1.Service:
        k8s.apps.v1.Deployment(
            "proxy", metadata=self._metadata("proxy"), spec=image.apply(proxy_spec), opts=self._inside
        )
        k8s.core.v1.Service(
            "proxy-api",
            metadata=self._metadata("proxy-api"),
            spec={"selector": labels("proxy"), "ports": [{"port": PROXY_API_PORT}]},
            opts=self._inside,
        )
        return k8s.core.v1.Service(
            "proxy",
            metadata=self._metadata("proxy"),
            spec={"selector": labels("proxy"), "ports": [{"port": PROXY_PORT}]},
            opts=self._inside,
        )

    def _database(self, storage: Storage) -> None:
        storage.claim("hub", metadata=self._metadata("hub"), opts=self._inside)

    def _hub(self, image: pulumi.Output[str], settings: pulumi.Output[str], secret: pulumi.Output[str]) -> None:
        k8s.core.v1.ConfigMap("hub", metadata=self._metadata("hub"), data={"hub.yaml": settings}, opts=self._inside)
        started_with = digest(settings, secret)
        k8s.apps.v1.Deployment(
            "hub",
            metadata=self._metadata("hub"),
            spec=pulumi.Output.all(image, started_with).apply(lambda given: hub_spec(*given)),
            opts=self._inside,
        )
        k8s.core.v1.Service(
            "hub",
            metadata=self._metadata("hub"),
            spec={
                "selector": labels("hub"),
                "ports": [{"name": "api", "port": HUB_PORT}, {"name": "sign-in", "port": SIGN_IN_PORT}],
            },
            opts=self._inside,
        )


def accounts_file(hashes: Mapping[str, str], admins: list[str]) -> dict[str, dict[str, Any]]:
    """What the hub's authenticator reads: by name a password's Argon2 hash, whether it is an admin's, and the user id.

    >>> accounts_file({"ada": "$argon2id$..."}, ["ada"])
    {'ada': {'hash': '$argon2id$...', 'admin': True, 'uid': 1039090445}}
    """
    return {name: {"hash": hashed, "admin": name in admins, "uid": user_id(name)} for name, hashed in hashes.items()}


def hub_settings(
    config: HubConfig,
    *,
    image: str,
    storage_class: str,
    releases: Sequence[Mapping[str, str]],
    claims: Mapping[str, str],
    home_gib: int,
    trusted_networks: Sequence[str],
    with_files: bool,
) -> dict[str, Any]:
    """The hub's settings file (`images/hub/cygnet_hub/settings.py` tells what each means).

    Args:
        config: What the stack says.
        image: Of sessions.
        storage_class: Of homes that are volumes.
        releases: The software that a session may have, as `Software.releases` gives it.
        claims: Of the volumes that sessions have at /cvmfs and, where homes are there, at /eos; by these names.
        home_gib: What a home is, where it is a volume.
        trusted_networks: Where gateway and proxy are, whose word on a client's address is taken.
        with_files: Whether there is a page of files.
    """
    return {
        "title": config.title,
        "hub_url": f"http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}",
        "proxy_api_url": f"http://proxy-api.{HUB_NAMESPACE}.svc:{PROXY_API_PORT}",
        "trusted_networks": list(trusted_networks),
        "idle_hours": config.idle_hours,
        "active_session_limit": config.active_session_limit,
        **({"files_port": SIGN_IN_PORT} if with_files else {}),
        "sessions": {
            "namespace": SESSIONS_NAMESPACE,
            "image": image,
            "size": config.model_dump(include={"cores", "cores_guaranteed", "memory_gib", "memory_gib_guaranteed"}),
            **({} if "eos" in claims else {"home": {"storage_class": storage_class, "size_gib": home_gib}}),
            "releases": [dict(release) for release in releases],
            **{f"{name}_claim": claim for name, claim in claims.items()},
            "link_hosts": list(config.link_hosts),
        },
    }


def hub_spec(image: str, started_with: str) -> dict[str, Any]:
    """One hub; it may only be one, for its database is a file."""
    hub = container(
        "hub",
        image,
        ports={"api": HUB_PORT, "sign-in": SIGN_IN_PORT},
        mounts={"settings": _SETTINGS, "secrets": _SECRETS, "database": _DATABASE, "scratch": SCRATCH},
        requests={"cpu": "50m", "memory": "200Mi"},
        limits={"memory": "1Gi"},
        ready={"httpGet": {"path": "/hub/health", "port": "api"}, "periodSeconds": 2},
    )
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels("hub")},
        "template": pod_template(
            labels("hub"),
            hub,
            annotations={"cygnet.io/settings": started_with},
            volumes={
                "settings": {"configMap": {"name": "hub"}},
                "secrets": {"secret": {"secretName": "hub", "defaultMode": 0o440}},
                "database": {"persistentVolumeClaim": {"claimName": "hub"}},
                "scratch": {"emptyDir": {}},
            },
            service_account="hub",
            on_control_plane=True,
        ),
    }


def proxy_spec(image: str) -> dict[str, Any]:
    """The proxy that knows which session is whose; it goes on while the hub restarts."""
    proxy = container(
        "proxy",
        image,
        args=[
            f"--port={PROXY_PORT}",
            "--api-ip=0.0.0.0",
            f"--api-port={PROXY_API_PORT}",
            f"--default-target=http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}",
            f"--error-target=http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}/hub/error",
        ],
        ports={"http": PROXY_PORT, "api": PROXY_API_PORT},
        env={"CONFIGPROXY_AUTH_TOKEN": {"secretKeyRef": {"name": "hub", "key": "proxy-token"}}},
        requests={"cpu": "50m", "memory": "80Mi"},
        limits={"memory": "512Mi"},
        ready={"tcpSocket": {"port": "http"}, "periodSeconds": 2},
    )
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two would each know half of the sessions
        "selector": {"matchLabels": labels("proxy")},
        "template": pod_template(labels("proxy"), proxy, on_control_plane=True),
    }


HUB_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch", "create"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
]
"""What the hub may do in the namespace of sessions. It may not delete a home."""

NODE_RULES: list[dict[str, Any]] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
"""What the hub may see of machines."""

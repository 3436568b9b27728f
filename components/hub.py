"""The hub: JupyterHub, which signs people in and gives each of them a session of their own."""

from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import IPv4Network
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import yaml

from components import placeholders, session_image
from components.auth import Auth, rights_settings
from components.cluster import Cluster
from components.cvmfs import Cvmfs
from components.cvmfs_pods import CvmfsPods
from components.eos import Eos
from components.hub_config import HubConfig
from components.hub_pods import DATABASE_CLAIM, HUB_PORTS, HUB_RULES, NODE_RULES, hub_spec, proxy_spec
from components.kubernetes import digest, images_spec
from components.permissions import grant, service_account
from components.policies import (
    HUB_NAMESPACE,
    HUB_PORT,
    IMAGES_POLICY,
    MONITOR_SIGN_IN_PORT,
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
from components.sign_in.rights import RightsConfig
from components.sizes import profiles, resources
from components.software import Software
from components.spark import HUB_RULES_IN_SESSIONS, Spark
from components.storage import Storage

PROXY_PODS = "proxy-pods"
EXTENSIONS = "/usr/local/share/cygnet/extensions"
"""Where the session's image has them, by name."""
PAGES: Mapping[str, Mapping[str, str]] = {
    "lab": {"title": "JupyterLab", "description": "Everything on one page", "url": "/lab"},
    "document": {"title": "One document", "description": "JupyterLab with one document at a time", "url": "/doc"},
}
"""How a session may open, by the names of `HubConfig.pages`."""


class Hub(pulumi.ComponentResource):
    """JupyterHub with its proxy, and the namespace of sessions. Stands on all that a session has, and on auth.

    Gives `proxy_address` ("name:port" inside the cluster, where a gateway sends users), `namespace` and
    `sessions_namespace`. A service of it signs people in to a page of files, where there is one (`with_files`); with
    `with_monitor` another one lets operators in to the monitor's page, and `monitor_token` opens the hub's figures.
    """

    proxy_address: pulumi.Output[str]
    namespace: pulumi.Output[str]
    sessions_namespace: pulumi.Output[str]
    monitor_token: pulumi.Output[str]
    """Secret; made where there is a monitor."""

    def __init__(
        self,
        name: str,
        config: HubConfig,
        *,
        cluster: Cluster,
        storage: Storage,
        registry: Registry,
        software: Software,
        cvmfs: Cvmfs | CvmfsPods,
        auth: Auth,
        eos: Eos,
        spark: Spark,
        with_files: bool,
        with_monitor: bool = False,
        trusted_proxies: Sequence[IPv4Network] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Hub", name, None, opts)
        self._cluster = cluster
        # What there is one of, and what another control plane can take over.
        self._images = ("hub", "proxy", *(("postgresql",) if config.database == "postgresql" else ()))
        self._inside = cluster.inside(self)
        self._with_monitor = with_monitor
        self.namespace = cluster.namespace(HUB_NAMESPACE, parent=self)
        self.sessions_namespace = cluster.namespace(SESSIONS_NAMESPACE, parent=self)
        self._policies(auth)
        self._permissions(with_spark=spark.settings is not None)
        self._present_images(registry, image_first=config.image_first)
        if config.placeholders:
            images = registry.image("session"), registry.image("pause")
            placeholders.hold(config, self.sessions_namespace, images, self._inside)
        for_sessions = partial(cluster.machines_folder, namespace=self.sessions_namespace, parent=self)
        claims = {}
        if cvmfs.folder is not None:
            claims["cvmfs"] = for_sessions("cvmfs", cvmfs.folder, "ReadOnlyMany")
        if eos.folder is not None:
            claims["eos"] = for_sessions("eos", eos.folder, "ReadWriteMany")
        hub_starts_with, proxy_starts_with = self._secret(auth, spark)
        proxy = self._proxy(registry.image("proxy"), proxy_starts_with)
        self._volumes(storage)
        settings = pulumi.Output.all(
            image=registry.image("session"),
            storage_class=storage.storage_class,
            releases=software.releases,
            claims=claims,
            guests=eos.guests.settings if eos.guests else None,
            auth={**auth.provided.settings, "rights": rights_settings(auth.rights, auth.admins)},
            spark=spark.settings,
        ).apply(
            lambda given: hub_settings(
                config,
                **given,
                home_gib=eos.home_gib,
                trusted_proxies=[str(network) for network in trusted_proxies],
                with_files=with_files,
                with_monitor=with_monitor,
                rights=auth.rights,
            )
        )
        self._hub(registry, settings.apply(yaml.safe_dump), hub_starts_with)
        self.proxy_address = proxy.metadata.apply(lambda given: f"{given.name}.{given.namespace}.svc:{PROXY_PORT}")
        self.register_outputs({"proxy_address": self.proxy_address})

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": labels(name)}

    def _policies(self, auth: Auth) -> None:
        known = pulumi.Output.all(
            self._cluster.api_servers, self._cluster.api_port, pulumi.Output.all(*auth.provided.egress)
        )
        policies: dict[str, pulumi.Input[dict[str, Any]]] = {
            "hub": known.apply(lambda given: hub_policy(*given[:2], sign_in=given[2], with_monitor=self._with_monitor)),
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

    def _permissions(self, *, with_spark: bool) -> None:
        """In the namespace of sessions the hub makes and removes sessions, and makes homes; it sees the nodes."""
        account = service_account("hub", self.namespace)
        k8s.core.v1.ServiceAccount(
            "hub",
            metadata=self._metadata("hub"),
            image_pull_secrets=self._cluster.pull_secrets,
            opts=self._inside,
        )
        there = {"name": "hub", "namespace": self.sessions_namespace}
        rules = [*HUB_RULES, *(HUB_RULES_IN_SESSIONS if with_spark else [])]
        grant("hub", there, rules, account, self._inside)
        # It tells users why no machine takes their session.
        grant("hub", {"name": "cygnet-hub"}, NODE_RULES, account, self._inside)

    def _present_images(self, registry: Registry, *, image_first: bool) -> None:
        """Brings images to machines before they are needed.

        To every machine that takes sessions that of sessions, before the first user comes; to every control plane those
        of pods that come there when another one dies, which may be the one that has the registry.
        """
        pause = registry.image("pause")
        k8s.apps.v1.DaemonSet(
            session_image.NAME,
            # A pod that may change its node is not where the hub makes pods.
            metadata={
                "name": session_image.NAME,
                "namespace": self.namespace if image_first else self.sessions_namespace,
            },
            spec=registry.image("session").apply(session_image.labelling_spec)
            if image_first
            else pulumi.Output.all(registry.image("session"), pause).apply(
                lambda given: session_image.pulling_spec(*given)
            ),
            opts=self._after_permission() if image_first else self._inside,
        )
        if self._cluster.moves:
            moving = pulumi.Output.all(*map(registry.image, self._images))
            k8s.apps.v1.DaemonSet(
                "moving-images",
                metadata=self._metadata("moving-images"),
                spec=pulumi.Output.all(moving, pause).apply(
                    lambda given: images_spec("moving-images", *given, on_control_plane=True)
                ),
                opts=self._inside,
            )

    def _after_permission(self) -> pulumi.ResourceOptions:
        """Options of what labels nodes: it comes after it may."""
        api = (self._cluster.api_servers, self._cluster.api_port)
        last = session_image.permission(self.namespace, api, self._cluster.pull_secrets, self._inside)
        return pulumi.ResourceOptions.merge(self._inside, pulumi.ResourceOptions(depends_on=[last]))

    def _secret(self, auth: Auth, spark: Spark) -> tuple[pulumi.Output[str], pulumi.Output[str]]:
        """Makes the hub's Secret; gives digests of what in it the hub, and its proxy, read at their start only."""
        made = {
            key: Token(
                f"hub-{key}",
                rotates="hub",
                keeps_former=key == "crypt-key",
                opts=pulumi.ResourceOptions(parent=self),
            )
            for key in ("proxy-token", "cookie-secret", "crypt-key", *(["monitor-token"] if self._with_monitor else []))
        }
        if self._with_monitor:
            self.monitor_token = made["monitor-token"].value
        keys = {key: token.value for key, token in made.items()}
        # What was encrypted with a former one is still to be read.
        keys["crypt-key"] = pulumi.Output.all(made["crypt-key"].value, made["crypt-key"].former).apply(
            lambda known: "\n".join([known[0], *known[1]])
        )
        at_start = {**keys, **auth.provided.secrets}
        secret = k8s.core.v1.Secret(
            "hub",
            metadata=self._metadata("hub"),
            string_data={**at_start, **auth.provided.secrets_read_again, **spark.secrets},
            opts=self._inside,
        )
        return digest(secret.id, *at_start.values()), digest(secret.id, keys["proxy-token"])

    def _proxy(self, image: pulumi.Output[str], started_with: pulumi.Output[str]) -> k8s.core.v1.Service:
        k8s.apps.v1.Deployment(
            "proxy",
            metadata=self._metadata("proxy"),
            spec=pulumi.Output.all(image, started_with).apply(
                lambda given: proxy_spec(*given, on_control_plane=self._cluster.has_control_plane)
            ),
            opts=self._inside,
        )
        k8s.core.v1.Service(
            "proxy-api",
            metadata=self._metadata("proxy-api"),
            spec={"selector": labels("proxy"), "ports": [{"port": PROXY_API_PORT}]},
            opts=self._inside,
        )
        # Its name leads to the pod itself: by that address the hub knows who comes by way of the gateway.
        k8s.core.v1.Service(
            PROXY_PODS,
            metadata=self._metadata(PROXY_PODS),
            spec={"selector": labels("proxy"), "clusterIP": "None", "ports": [{"port": PROXY_PORT}]},
            opts=self._inside,
        )
        return k8s.core.v1.Service(
            "proxy",
            metadata=self._metadata("proxy"),
            spec={"selector": labels("proxy"), "ports": [{"port": PROXY_PORT}]},
            opts=self._inside,
        )

    def _volumes(self, storage: Storage) -> None:
        """What the hub writes, and what its database does: neither sees the other's files."""
        for name in ("hub", *((DATABASE_CLAIM,) if "postgresql" in self._images else ())):
            storage.claim(name, metadata=self._metadata(name), opts=self._inside)

    def _hub(self, registry: Registry, settings: pulumi.Output[str], starts_with: pulumi.Output[str]) -> None:
        k8s.core.v1.ConfigMap("hub", metadata=self._metadata("hub"), data={"hub.yaml": settings}, opts=self._inside)
        started_with = digest(settings, starts_with)
        k8s.apps.v1.Deployment(
            "hub",
            metadata=self._metadata("hub"),
            spec=pulumi.Output.all(started_with, *map(registry.image, self._images)).apply(
                lambda given: hub_spec(
                    dict(zip(self._images, given[1:], strict=True)),
                    given[0],
                    on_control_plane=self._cluster.has_control_plane,
                )
            ),
            opts=self._inside,
        )
        k8s.core.v1.Service(
            "hub",
            metadata=self._metadata("hub"),
            spec={
                "selector": labels("hub"),
                "ports": [{"name": name, "port": port} for name, port in HUB_PORTS.items()],
            },
            opts=self._inside,
        )


def jupyter_folders(config: HubConfig) -> list[str]:
    """Where Jupyter looks besides its own folders; a release's setup.sh puts its folder before these.

    >>> jupyter_folders(HubConfig(kernels=["/eos/atlas/jupyter"], extensions=["swanhelp"]))
    ['/eos/atlas/jupyter', '/usr/local/share/cygnet/extensions/swanhelp']
    """
    return [*config.kernels, *(f"{EXTENSIONS}/{name}" for name in config.extensions)]


def hub_settings(
    config: HubConfig,
    *,
    image: str,
    storage_class: str,
    releases: Sequence[Mapping[str, str]],
    claims: Mapping[str, str],
    guests: Mapping[str, Any] | None = None,
    home_gib: int,
    trusted_proxies: Sequence[str] = (),
    with_files: bool,
    with_monitor: bool = False,
    auth: Mapping[str, Any],
    spark: Mapping[str, Any] | None = None,
    rights: RightsConfig,
) -> dict[str, Any]:
    """The hub's settings file (`images/hub/cygnet_hub/settings.py` tells what each means).

    Args:
        config: What the stack says.
        image: Of sessions.
        storage_class: Of homes that are volumes.
        releases: The software that a session may have, as `Software.releases` gives it.
        claims: Of the volumes that sessions have at /cvmfs and, where homes are there, at /eos; by these names.
        guests: Where machines are told who is who, where the stack does not name them.
        home_gib: What a home is, where it is a volume.
        trusted_proxies: Networks of the site's proxies before the gateway, whose word on a client's address is taken.
        with_files: Whether there is a page of files.
        with_monitor: Whether there is a monitor.
        auth: How people sign in, as `Auth.provided` gives it.
        spark: Clusters for Spark, as `Spark.settings` gives them.
        rights: Which sizes and releases are for groups.
    """
    return {
        "title": config.title,
        "announcement": config.announcement,
        "hub_url": f"http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}",
        "proxy_api_url": f"http://proxy-api.{HUB_NAMESPACE}.svc:{PROXY_API_PORT}",
        "proxy_host": f"{PROXY_PODS}.{HUB_NAMESPACE}.svc",
        "trusted_proxies": list(trusted_proxies),
        "database": config.database,
        "active_session_limit": config.active_session_limit,
        **({"files_port": SIGN_IN_PORT} if with_files else {}),
        **({"monitor_port": MONITOR_SIGN_IN_PORT} if with_monitor else {}),
        **({"guests": dict(guests)} if guests else {}),
        "auth": dict(auth),
        "sessions": {
            "namespace": SESSIONS_NAMESPACE,
            "image": image,
            "size": resources(config),
            **({"profiles": profiles(config, config.sizes, rights)} if config.sizes else {}),
            **({"node_selector": session_image.selector(image)} if config.image_first else {}),
            "packed": config.packed,
            **({} if "eos" in claims else {"home": {"storage_class": storage_class, "size_gib": home_gib}}),
            "releases": [{**one, "groups": list(rights.features.get(one["name"], ()))} for one in releases],
            **{f"{name}_claim": claim for name, claim in claims.items()},
            **(spark or {}),
            "link_hosts": list(config.link_hosts),
            "idle_warning_minutes": config.idle_warning_minutes,
            "max_age_hours": config.max_age_hours,
            "gpu_claim_minutes": config.gpu_claim_minutes,
            "page": config.page,
            "scripts": config.scripts,
            "interfaces": [{"name": name, **PAGES[name]} for name in config.pages],
            **({"environment": {"JUPYTER_PATH": ":".join(folders)}} if (folders := jupyter_folders(config)) else {}),
        },
    }

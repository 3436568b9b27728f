"""Monitor: Prometheus over hub, machines, storage and GPUs, with alerts and one page of pictures for operators."""

from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
import yaml
from pydantic import Field, SecretStr, field_validator

from components import guarded
from components.base import PartConfig
from components.cluster import OwnCluster
from components.gateway_config import Site
from components.hub import Hub
from components.kubernetes import digest
from components.monitor_pods import (
    ALERTS_PORT,
    FIGURES_PORT,
    PORT,
    PREFIX,
    SECRETS,
    STATE_RULES,
    node_exporter_spec,
    policies,
    prometheus_spec,
    state_spec,
)
from components.permissions import grant, service_account
from components.policies import (
    HUB_NAMESPACE,
    HUB_PORT,
    MONITOR_NAMESPACE,
    MONITOR_SIGN_IN_PORT,
    in_hub,
    in_monitor,
    labels,
    tcp,
)
from components.registry import Registry
from components.storage import Storage

_RULES = "/etc/prometheus/rules/*.yaml"  # of the image
_EVERY_SECONDS = 15
_DIGIT = 2  # 8443 and 28443; the page of files has 1
_PAGE = f"{PREFIX}/consoles/cygnet.html"
# Debian's Prometheus has its pages elsewhere than links to them say, such as those below each picture.
_ELSEWHERE = [f"{PREFIX}/{name}" for name in ("alerts", "graph", "rules", "service-discovery", "status", "targets")]
DEBIANS = f"{PREFIX}/classic/{{http.request.uri.path.file}}"


class MonitorConfig(PartConfig):
    """What a stack says about its monitor, under `cygnet:monitor`."""

    enabled: Annotated[bool, Field(description="Whether there is Prometheus, with its page for operators")] = False
    https_port: Annotated[
        int, Field(ge=1, le=65535, description="TCP port of the page, which is an origin of its own in browsers")
    ] = 9444
    days: Annotated[int, Field(ge=1, le=3650, description="Days for which figures are kept")] = 15
    disk_gib: Annotated[
        int, Field(ge=1, le=4096, description="GiB that they may take; the oldest go first when there are more")
    ] = 4
    alerts_to: Annotated[
        SecretStr | None,
        Field(
            description="Where alerts are sent, a URL that takes Alertmanager's webhooks, a secret; "
            "none: they are on the page only"
        ),
    ] = None

    @field_validator("alerts_to")
    @classmethod
    def _is_a_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url and not url.get_secret_value().startswith(("https://", "http://")):
            raise ValueError('is no URL, which begins with "https://"')
        return url


class Monitor(pulumi.ComponentResource):
    """Prometheus, with what gives it figures: an exporter on each machine, and one of Kubernetes' own objects.

    Stands on cluster, storage and hub. Gives `site`, for the gateway, and `told`, for people.
    """

    site: Site
    told: dict[str, Any]

    def __init__(
        self,
        name: str,
        config: MonitorConfig,
        *,
        cluster: OwnCluster,
        registry: Registry,
        storage: Storage,
        hub: Hub,
        service_port: int,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Monitor", name, None, opts)
        self._cluster, self._inside = cluster, cluster.inside(self)
        self._namespace = cluster.namespace(MONITOR_NAMESPACE, parent=self)
        self._policies(config)
        self._sees_objects()
        self._sees_pods_beside_it()
        # Whoever sees all of a machine sees no secret there without being root, and the exporter is nobody.
        machine = cluster.machines_folder("machine", "/", "ReadOnlyMany", namespace=self._namespace, parent=self)
        k8s.apps.v1.DaemonSet(
            "node-exporter",
            metadata=self._metadata("node-exporter"),
            spec=pulumi.Output.all(registry.image("node-exporter"), machine).apply(
                lambda given: node_exporter_spec(*given)
            ),
            opts=self._inside,
        )
        k8s.apps.v1.Deployment(
            "kube-state-metrics",
            metadata=self._metadata("kube-state-metrics"),
            spec=registry.image("kube-state-metrics").apply(state_spec),
            opts=self._inside,
        )
        self._service("kube-state-metrics", FIGURES_PORT)
        self._prometheus(config, registry, storage, hub)
        self._service("prometheus", PORT)
        self.site = site(config, service_port)
        self.told = {"days": config.days, "alerts": "sent" if config.alerts_to else "shown"}
        self.register_outputs({"told": self.told})

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self._namespace, "labels": labels(name)}

    def _policies(self, config: MonitorConfig) -> None:
        cluster = self._cluster
        known = pulumi.Output.all(cluster.api_servers, cluster.api_port, cluster.inner_networks)
        made = known.apply(lambda given: policies(*given, sends=config.alerts_to is not None))
        for name in ("all", "prometheus", "kube-state-metrics", "node-exporter"):
            k8s.networking.v1.NetworkPolicy(
                f"monitor-{name}", metadata=self._metadata(name), spec=made[name], opts=self._inside
            )

    def _sees_objects(self) -> None:
        """kube-state-metrics tells of Kubernetes' objects in all of the cluster."""
        name = "kube-state-metrics"
        k8s.core.v1.ServiceAccount(name, metadata=self._metadata(name), opts=self._inside)
        account = service_account(name, self._namespace)
        grant(name, {"name": f"cygnet-{name}"}, STATE_RULES, account, self._inside)

    def _sees_pods_beside_it(self) -> None:
        """Prometheus finds the exporters of machines among the pods of its own namespace, and sees nothing else."""
        metadata = self._metadata("prometheus")
        k8s.core.v1.ServiceAccount("prometheus", metadata=metadata, opts=self._inside)
        rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
        grant("prometheus", metadata, rules, service_account("prometheus", self._namespace), self._inside)

    def _service(self, name: str, port: int) -> None:
        spec = {"selector": labels(name), "ports": [{"port": port}]}
        k8s.core.v1.Service(name, metadata=self._metadata(name), spec=spec, opts=self._inside)

    def _prometheus(self, config: MonitorConfig, registry: Registry, storage: Storage, hub: Hub) -> None:
        url = pulumi.Output.secret(config.alerts_to.get_secret_value()) if config.alerts_to else None
        sending = url.apply(lambda given: yaml.safe_dump(alertmanager_settings(given))) if url is not None else None
        settings = yaml.safe_dump(prometheus_settings(sends=url is not None), sort_keys=False)
        metadata = self._metadata("prometheus")
        k8s.core.v1.ConfigMap("prometheus", metadata=metadata, data={"prometheus.yml": settings}, opts=self._inside)
        k8s.core.v1.Secret(
            "prometheus",
            metadata=metadata,
            string_data={
                "hub-token": hub.monitor_token,
                **({"alertmanager.yml": sending} if sending is not None else {}),
            },
            opts=self._inside,
        )
        storage.claim("prometheus", metadata=metadata, opts=self._inside)
        # The token is read anew each time.
        started_with = digest(settings, *([sending] if sending is not None else []))
        k8s.apps.v1.Deployment(
            "prometheus",
            metadata=metadata,
            spec=pulumi.Output.all(registry.image("monitor"), started_with).apply(
                lambda given: prometheus_spec(
                    *given, days=config.days, disk_gib=config.disk_gib, sends=sending is not None
                )
            ),
            opts=self._inside,
        )


def prometheus_settings(*, sends: bool) -> dict[str, Any]:
    """Prometheus' own configuration file: whom it asks, and with which rules it judges.

    Args:
        sends: Whether alerts are sent by an Alertmanager beside it.
    """
    node = {"source_labels": ["__meta_kubernetes_pod_node_name"], "target_label": "node"}
    exporters = {
        "source_labels": ["__meta_kubernetes_pod_label_app_kubernetes_io_name"],
        "regex": "node-exporter",
        "action": "keep",
    }
    jobs: list[dict[str, Any]] = [
        {
            "job_name": "hub",
            "metrics_path": "/hub/metrics",
            "authorization": {"type": "token", "credentials_file": f"{SECRETS}/hub-token"},
            "static_configs": [{"targets": [f"hub.{HUB_NAMESPACE}.svc:{HUB_PORT}"]}],
        },
        {
            "job_name": "machines",
            "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [MONITOR_NAMESPACE]}}],
            "relabel_configs": [exporters, node],
        },
        {
            "job_name": "kubernetes",
            "honor_labels": True,  # of what it tells of, and not its own
            "static_configs": [{"targets": [f"kube-state-metrics.{MONITOR_NAMESPACE}.svc:{FIGURES_PORT}"]}],
        },
        {
            "job_name": "prometheus",
            "metrics_path": f"{PREFIX}/metrics",
            "static_configs": [{"targets": [f"127.0.0.1:{PORT}"]}],
        },
    ]
    settings: dict[str, Any] = {
        "global": {"scrape_interval": f"{_EVERY_SECONDS}s", "evaluation_interval": f"{_EVERY_SECONDS}s"},
        "rule_files": [_RULES],
        "scrape_configs": jobs,
    }
    if sends:
        settings["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ALERTS_PORT}"]}]}]}
    return settings


def alertmanager_settings(url: str) -> dict[str, Any]:
    """Alertmanager's: all alerts go to one place, told again every four hours while they last.

    Args:
        url: That takes its webhooks.
    """
    route = {"receiver": "site", "group_by": ["alertname"], "group_wait": "10s", "repeat_interval": "4h"}
    return {"route": route, "receivers": [{"name": "site", "webhook_configs": [{"url": url}]}]}


def site(config: MonitorConfig, service_port: int) -> Site:
    """The page at the gateway, which lets in whom the hub's service lets in: operators.

    Args:
        config: What the stack says.
        service_port: HTTPS port of the service.
    """
    sign_in = f"hub.{HUB_NAMESPACE}.svc:{MONITOR_SIGN_IN_PORT}"
    return Site(
        name="monitor",
        https_port=config.https_port,
        routes=[
            *guarded.beginning(PREFIX, service_port, config.https_port, digit=_DIGIT),
            *guarded.closed_to_other_pages(),
            {"handle": [guarded.authenticated(PREFIX, sign_in)]},
            {"match": [{"path": [f"{PREFIX}/"]}], "handle": [guarded.redirect(_PAGE)], "terminal": True},
            {"match": [{"path": _ELSEWHERE}], "handle": [guarded.redirect(DEBIANS)], "terminal": True},
            {"handle": [guarded.without_credentials("monitor")]},
            {"handle": [guarded.proxy(f"prometheus.{MONITOR_NAMESPACE}.svc:{PORT}")]},
        ],
        service_routes=guarded.at_service(PREFIX, service_port, config.https_port, sign_in, digit=_DIGIT),
        egress=[
            {"to": [in_hub("hub")], "ports": [tcp(MONITOR_SIGN_IN_PORT)]},
            {"to": [in_monitor("prometheus")], "ports": [tcp(PORT)]},
        ],
    )

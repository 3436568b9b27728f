"""The gateway: the one HTTPS address through which users reach the service."""

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from components.cluster import OwnCluster
from components.existing_cluster import ExistingCluster
from components.gateway_certificate import (
    ACME_AUTHORITY_FILE,
    AUTHORITY_FILE,
    ISSUER_FILE,
    ISSUER_KEY_FILE,
    addresses,
    own_hosts,
    text,
)
from components.gateway_config import GatewayConfig, Site, public_url
from components.gateway_pods import (
    HTTP_PORT,
    HTTPS_PORT,
    LABELS,
    caddy_config,
    caddy_pod,
    network_policy,
    uses_acme,
)
from components.gateway_settings import TakenUp, settings
from components.hub import Hub
from components.kubernetes import digest
from components.registry import Registry
from components.secrets import Authority, Certificate, Issuer
from components.sign_in.provided import Provided
from components.storage import Storage

_NAMESPACE = "gateway"


class Gateway(pulumi.ComponentResource):
    """Ends TLS and hands everything to the hub's proxy, or to what has a site.

    Stands on cluster, storage, hub and auth.

    Gives `url`, the address users type, `site_urls`, those of sites by name, `certificate_authority` (PEM), which
    users' browsers may trust, and `told`, for people.
    """

    url: pulumi.Output[str]
    site_urls: dict[str, pulumi.Output[str]]
    certificate_authority: pulumi.Output[str]
    told: dict[str, pulumi.Input[str]]

    def __init__(
        self,
        name: str,
        config: GatewayConfig,
        *,
        cluster: OwnCluster | ExistingCluster,
        registry: Registry,
        storage: Storage,
        hub: Hub,
        sign_in: Provided,
        authority: Authority,
        sites: Sequence[Site] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Gateway", name, None, opts)
        inside = cluster.inside(self)
        below = pulumi.ResourceOptions(parent=self)
        on_machines = isinstance(cluster, OwnCluster)
        namespace = cluster.namespace(_NAMESPACE, level="privileged" if on_machines else "restricted", parent=self)
        metadata = {"name": "gateway", "namespace": namespace}
        balanced = {config.https_port: HTTPS_PORT, config.http_port: HTTP_PORT}
        places = (
            [cluster.public_address, cluster.address]
            if isinstance(cluster, OwnCluster)
            else [cluster.load_balancer(name, metadata, selector=LABELS, ports=balanced, opts=inside)]
        )
        host = pulumi.Output.from_input(config.hostname or places[0])
        # The last two are what a browser asks for at the end of an SSH tunnel.
        names = _unique([host, *places, "localhost", "127.0.0.1"])
        hosts = names.apply(lambda given: own_hosts(config.certificate, given, config.hostname))
        certificate = Certificate(name, names.apply(addresses), rotates="gateway", authority=authority, opts=below)
        issuer = Issuer(name, hosts, authority=authority, opts=below)
        served = pulumi.Output.all(names=names, hosts=hosts, proxy_address=hub.proxy_address)
        pair = {"certificate": certificate.certificate, "key": certificate.private_key}
        told = pulumi.Output.all(served, pair).apply(
            lambda given: settings(
                caddy_config(config, for_addresses=given[1], sites=sites, routes=sign_in.routes, **given[0])
            )
        )
        variables = {name: value for site in sites for name, value in site.variables.items()}
        secret = k8s.core.v1.Secret(
            name,
            metadata=metadata,
            string_data={
                "caddy.json": told[0],
                AUTHORITY_FILE: authority.certificate,
                ISSUER_FILE: issuer.certificate,
                ISSUER_KEY_FILE: issuer.private_key,
                **({ACME_AUTHORITY_FILE: text(acme)} if (acme := config.certificate.authority) else {}),
                **variables,
            },
            opts=inside,
        )
        if uses_acme(config):
            claimed = {**metadata, "name": "certificates"}
            storage.claim(f"{name}-certificates", metadata=claimed, access="ReadWriteMany", opts=inside)
        k8s.networking.v1.NetworkPolicy(
            name,
            metadata=metadata,
            spec=cluster.inner_networks.apply(
                lambda inner: network_policy(config, sites, sign_in=sign_in.routes_egress, not_outside=inner)
            ),
            opts=inside,
        )
        # Caddy reads its settings anew when they change, but not the issuer, nor variables.
        started_with = digest(secret.id, issuer.certificate, *variables.values())
        pod = pulumi.Output.all(image=registry.image("gateway"), started_with=started_with).apply(
            lambda given: caddy_pod(config, sites=sites, on_machines=on_machines, **given)
        )
        spec = {"selector": {"matchLabels": LABELS}, "template": pod}
        kind = k8s.apps.v1.DaemonSet if on_machines else k8s.apps.v1.Deployment
        caddies = kind(name, metadata=metadata, spec=spec, opts=inside)
        taken_up = TakenUp(
            name,
            pulumi.Output.unsecret(told[1]),
            namespace=namespace,
            kubeconfig=cluster.kubeconfig,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[secret, caddies]),
        )
        serving = pulumi.Output.all(host, taken_up.id).apply(lambda given: str(given[0]))
        self.url = serving.apply(lambda name: public_url(name, config.https_port))
        self.site_urls = {one.name: _url_of(one, serving) for one in sites}
        self.certificate_authority = authority.certificate
        self.told = {"url": self.url, "certificate": config.certificate.kind}
        self.register_outputs({"url": self.url})


def service_host(config: GatewayConfig, cluster: OwnCluster) -> pulumi.Output[str]:
    """The name or address that users type."""
    return pulumi.Output.from_input(config.hostname or cluster.public_address)


def _url_of(site: Site, host: pulumi.Output[str]) -> pulumi.Output[str]:
    return host.apply(lambda name: public_url(name, site.https_port))


def _unique(names: list[pulumi.Input[str]]) -> pulumi.Output[list[str]]:
    return pulumi.Output.all(*names).apply(lambda given: list(dict.fromkeys(given)))

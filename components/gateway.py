"""The gateway: the one HTTPS address through which users reach the service."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field, model_validator

from components.base import PartConfig
from components.cluster import OwnCluster
from components.existing_cluster import ExistingCluster
from components.gateway_certificate import (
    ACME_AUTHORITY_FILE,
    AUTHORITY_FILE,
    ISSUER_FILE,
    ISSUER_KEY_FILE,
    STATE,
    CertificateConfig,
    addresses,
    caddy_apps,
    fault,
    own_hosts,
    text,
)
from components.hub import Hub
from components.kubernetes import DNS_EGRESS, SCRATCH, container, digest, pod_template
from components.policies import PROXY_PORT, from_networks, in_hub, outside, tcp
from components.registry import Registry
from components.secrets import Authority, Certificate, Issuer
from components.sign_in.provided import Provided
from components.storage import Storage

_NAMESPACE = "gateway"
_LABELS = {"app.kubernetes.io/name": "gateway"}
_HTTPS_PORT = 8443  # inside the pod, which is not root
_HTTP_PORT = 8080
_FIRST_SITE_PORT = 8444
PORTS_OF_THE_MACHINE = {
    22: "SSH", 1094: "homes and data", 2379: "etcd", 2380: "etcd", 3128: "the proxy of software repositories",
    5000: "the registry", 6443: "Kubernetes' API", 8000: "the software repository", 10250: "the kubelet",
}  # fmt: skip
_SETTINGS = "/etc/caddy"
# What was open when the settings were read anew stays open so long.
_STREAMS_STAY = "24h"
_HTTPS_ONLY_DAYS = 180  # for which browsers remember that the name is reached by HTTPS only
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"  # of a host name


class GatewayConfig(PartConfig):
    """What a stack says about its gateway, under `cygnet:gateway`."""

    hostname: Annotated[
        str | None,
        Field(
            pattern=rf"^{_LABEL}(\.{_LABEL})*$",
            description="Name in the user's address bar, e.g. swan.example.org; none: the machine's address",
        ),
    ] = None
    https_port: Annotated[int, Field(ge=1, le=65535, description="TCP port of the service")] = 443
    http_port: Annotated[int, Field(ge=1, le=65535, description="TCP port that only redirects to HTTPS")] = 80
    allowed_networks: Annotated[
        tuple[IPv4Network, ...], Field(description="Who may connect, e.g. [192.0.2.0/24]; empty: all")
    ] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network, ...],
        Field(description="Proxies of the site in front of it, whose word on a client's address is taken"),
    ] = ()
    certificate: Annotated[CertificateConfig, Field(description="The certificate under which it answers")] = Field(
        default_factory=CertificateConfig
    )

    @model_validator(mode="after")
    def _certificate_is_for_its_name(self) -> "GatewayConfig":
        if found := fault(self.certificate, self.hostname):
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _ports_are_free(self) -> "GatewayConfig":
        if self.https_port == self.http_port:
            raise ValueError(f"https_port and http_port are both {self.https_port}; give one of them another number")
        for field in ("https_port", "http_port"):
            if owner := PORTS_OF_THE_MACHINE.get(getattr(self, field)):
                raise ValueError(f"{field} {getattr(self, field)} is the port of {owner} on that machine; take another")
        return self


@dataclasses.dataclass(frozen=True)
class Site:
    """A part's own origin at the gateway: the service's host at another port, with Caddy's routes."""

    name: str
    https_port: int
    """On the machine."""
    routes: Sequence[Mapping[str, Any]]
    """At that port."""
    service_routes: Sequence[Mapping[str, Any]] = ()
    """At the service's own port, before all goes to the hub."""
    variables: Mapping[str, pulumi.Input[str]] = dataclasses.field(default_factory=dict)
    """Secrets that the routes name as {env.NAME}."""
    egress: Sequence[Mapping[str, Any]] = ()
    """Rules of a network policy: where the routes lead."""


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
        balanced = {config.https_port: _HTTPS_PORT, config.http_port: _HTTP_PORT}
        places = (
            [cluster.public_address, cluster.address]
            if isinstance(cluster, OwnCluster)
            else [cluster.load_balancer(name, metadata, selector=_LABELS, ports=balanced, opts=inside)]
        )
        host = pulumi.Output.from_input(config.hostname or places[0])
        # The last two are what a browser asks for at the end of an SSH tunnel.
        names = _unique([host, *places, "localhost", "127.0.0.1"])
        hosts = names.apply(lambda given: own_hosts(config.certificate, given, config.hostname))
        certificate = Certificate(name, names.apply(addresses), rotates="gateway", authority=authority, opts=below)
        issuer = Issuer(name, hosts, authority=authority, opts=below)
        served = pulumi.Output.all(names=names, hosts=hosts, proxy_address=hub.proxy_address)
        pair = {"certificate": certificate.certificate, "key": certificate.private_key}
        settings = pulumi.Output.all(served, pair).apply(
            lambda given: json.dumps(
                caddy_config(config, for_addresses=given[1], sites=sites, routes=sign_in.routes, **given[0])
            )
        )
        variables = {name: value for site in sites for name, value in site.variables.items()}
        secret = k8s.core.v1.Secret(
            name,
            metadata=metadata,
            string_data={
                "caddy.json": settings,
                AUTHORITY_FILE: authority.certificate,
                ISSUER_FILE: issuer.certificate,
                ISSUER_KEY_FILE: issuer.private_key,
                **({ACME_AUTHORITY_FILE: text(acme)} if (acme := config.certificate.authority) else {}),
                **variables,
            },
            opts=inside,
        )
        if _asks(config):
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
        spec = {"selector": {"matchLabels": _LABELS}, "template": pod}
        kind = k8s.apps.v1.DaemonSet if on_machines else k8s.apps.v1.Deployment
        caddies = kind(name, metadata=metadata, spec=spec, opts=inside)
        serving = pulumi.Output.all(host, caddies.id).apply(lambda given: str(given[0]))
        self.url = serving.apply(lambda name: public_url(name, config.https_port))
        self.site_urls = {one.name: _url_of(one, serving) for one in sites}
        self.certificate_authority = authority.certificate
        self.told = {"url": self.url, "certificate": config.certificate.kind}
        self.register_outputs({"url": self.url})


def service_host(config: GatewayConfig, cluster: OwnCluster) -> pulumi.Output[str]:
    """The name or address that users type."""
    return pulumi.Output.from_input(config.hostname or cluster.public_address)


def public_url(host: str, https_port: int) -> str:
    """The address users type, without the port where it is HTTPS's own.

    >>> public_url("swan.example", 8443)
    'https://swan.example:8443'
    """
    return f"https://{host}" + ("" if https_port == 443 else f":{https_port}")


def caddy_config(
    config: GatewayConfig,
    *,
    names: Sequence[str],
    hosts: Sequence[str],
    proxy_address: str,
    for_addresses: Mapping[str, str],
    sites: Sequence[Site] = (),
    routes: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Caddy's own configuration (its JSON form): HTTPS to the proxy and to sites, plain HTTP to HTTPS.

    Args:
        config: What the stack says.
        names: Host names and addresses of the gateway, as `gateway_certificate.addresses` takes them.
        hosts: Those for which the stack's own authority vouches.
        proxy_address: Where the hub's proxy listens, "name:port".
        for_addresses: The certificate for addresses, by "certificate" and "key", both PEM.
        sites: What has a port of its own.
        routes: What signs people in at the service's own address, if not the hub.
    """
    here = public_url("{http.request.host}", config.https_port)
    to_https = {
        "handler": "static_response",
        "status_code": 308,
        "headers": {"Location": [f"{here}{{http.request.uri}}"]},
    }
    proxied = {"handler": "reverse_proxy", "upstreams": [{"dial": proxy_address}], "stream_close_delay": _STREAMS_STAY}
    to_hub = {"handle": [_browsers_are_told(config), proxied]}
    # Sites are configured here and not by the names in requests: nothing is to be issued or redirected by itself.
    by_hand = {"automatic_https": {"disable": True}}
    # Browsers name no server when they connect to an address.
    https = {"tls_connection_policies": [{"fallback_sni": addresses(names)[0]}], **by_hand, **_told_by(config)}
    return {
        # What it reads has keys in it, and is not to be written elsewhere.
        "admin": {"disabled": True, "config": {"persist": False}},
        "apps": {
            **caddy_apps(
                config.certificate,
                config.hostname,
                hosts,
                folder=_SETTINGS,
                for_addresses=for_addresses,
                http_port=_HTTP_PORT,
                https_port=_HTTPS_PORT,
            ),
            "http": {
                "servers": {
                    "https": {
                        "listen": [f":{_HTTPS_PORT}"],
                        "routes": [*routes, *(route for site in sites for route in site.service_routes), to_hub],
                        **https,
                    },
                    "http": {"listen": [f":{_HTTP_PORT}"], "routes": [{"handle": [to_https]}], **by_hand},
                    **{
                        site.name: {"listen": [f":{port}"], "routes": list(site.routes), **https}
                        for port, site in _numbered(sites)
                    },
                }
            },
        },
    }


def _browsers_are_told(config: GatewayConfig) -> dict[str, Any]:
    """What browsers are to do with the service's own pages, in headers; what is in these is the hub's to say."""
    told = {"X-Content-Type-Options": ["nosniff"], "Referrer-Policy": ["same-origin"]}
    told["X-Frame-Options"] = ["SAMEORIGIN"]  # as the hub's own policy says it to browsers that know policies
    if config.certificate.kind != "own":
        # Not with a certificate that only those trust who were told to: nobody else would even get to the warning.
        told["Strict-Transport-Security"] = [f"max-age={_HTTPS_ONLY_DAYS * 24 * 3600}"]
    return {"handler": "headers", "response": {"deferred": True, "set": told}}


def network_policy(
    config: GatewayConfig,
    sites: Sequence[Site] = (),
    *,
    sign_in: Sequence[Mapping[str, Any]] = (),
    not_outside: Sequence[str] = (),
) -> dict[str, Any]:
    """Who may connect to the gateway, and that it may connect to the hub's proxy, to sites and to DNS only.

    By the rules `sign_in` it reaches what signs people in. To the outside, which is in none of the networks
    `not_outside`, it may only where it asks for a certificate.
    """
    ports = (_HTTPS_PORT, _HTTP_PORT, *dict(_numbered(sites)))
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [from_networks(config.allowed_networks, *ports)],
        "egress": [
            DNS_EGRESS,
            {"to": [in_hub("proxy")], "ports": [tcp(PROXY_PORT)]},
            *sign_in,
            *(rule for site in sites for rule in site.egress),
            *([outside(not_outside)] if _asks(config) else []),
        ],
    }


def caddy_pod(
    config: GatewayConfig, *, image: str, started_with: str, sites: Sequence[Site] = (), on_machines: bool = True
) -> dict[str, Any]:
    """A pod with Caddy.

    Args:
        config: What the stack says.
        image: Of Caddy.
        started_with: A digest of what Caddy reads at its start only; another one starts it anew.
        sites: What has a port of its own.
        on_machines: On each control plane, at ports of the machine: the service's address leads to one of them. Else
            anywhere, behind a load balancer.
    """
    secrets = {name: {"secretKeyRef": {"name": "gateway", "key": name}} for site in sites for name in site.variables}
    ports = {
        "https": (_HTTPS_PORT, config.https_port),
        "http": (_HTTP_PORT, config.http_port),
        **{site.name: (port, site.https_port) for port, site in _numbered(sites)},
    }
    caddy = container(
        "caddy",
        image,
        args=["run", "--config", f"{_SETTINGS}/caddy.json", "--watch"],
        ports={name: (inner, outer) if on_machines else inner for name, (inner, outer) in ports.items()},
        mounts={"settings": _SETTINGS, "scratch": SCRATCH, **({"state": STATE} if _asks(config) else {})},
        requests={"cpu": "20m", "memory": "40Mi"},
        limits={"memory": "256Mi"},
        env={"XDG_CONFIG_HOME": SCRATCH, "XDG_DATA_HOME": SCRATCH, **secrets},
        ready={"tcpSocket": {"port": "https"}, "periodSeconds": 2},
    )
    return pod_template(
        _LABELS,
        caddy,
        annotations={"cygnet.io/settings": started_with},
        volumes={
            "settings": {
                "secret": {
                    "secretName": "gateway",
                    "defaultMode": 0o440,
                    "items": [{"key": key, "path": key} for key in _files(config.certificate)],
                }
            },
            "scratch": {"emptyDir": {}},
            # An authority gives few certificates a week for one name: what it gave outlives the pod.
            **({"state": {"persistentVolumeClaim": {"claimName": "certificates"}}} if _asks(config) else {}),
        },
        on_control_plane=on_machines,
    )


def _asks(config: GatewayConfig) -> bool:
    """Whether Caddy asks an authority for its certificate."""
    return config.certificate.kind == "acme"


def _told_by(config: GatewayConfig) -> dict[str, Any]:
    """Whose X-Forwarded-For counts, in Caddy's words; nobody's by default."""
    if not config.trusted_proxies:
        return {}
    ranges = [str(network) for network in config.trusted_proxies]
    # Strict: from the right, until one that is no proxy of ours; what a client wrote itself stands further left.
    return {"trusted_proxies": {"source": "static", "ranges": ranges}, "trusted_proxies_strict": 1}


def _files(config: CertificateConfig) -> list[str]:
    """What Caddy reads, of the Secret."""
    own = ["caddy.json", AUTHORITY_FILE, ISSUER_FILE, ISSUER_KEY_FILE]
    return [*own, ACME_AUTHORITY_FILE] if config.authority else own


def _url_of(site: Site, host: pulumi.Output[str]) -> pulumi.Output[str]:
    return host.apply(lambda name: public_url(name, site.https_port))


def _numbered(sites: Sequence[Site]) -> list[tuple[int, Site]]:
    """Each site with its port inside the pod."""
    return list(enumerate(sites, _FIRST_SITE_PORT))


def _unique(names: list[pulumi.Input[str]]) -> pulumi.Output[list[str]]:
    return pulumi.Output.all(*names).apply(lambda given: list(dict.fromkeys(given)))

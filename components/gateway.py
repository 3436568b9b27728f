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
from components.cluster import Cluster
from components.hub import Hub
from components.kubernetes import DNS_EGRESS, SCRATCH, container, digest, pod_template
from components.policies import PROXY_PORT, from_networks, in_hub, tcp
from components.registry import Registry
from components.secrets import Authority, Certificate

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
_TLS = "/etc/caddy/tls"
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
    """Ends TLS and hands everything to the hub's proxy, or to what has a site. Stands on a cluster and a hub.

    Gives `url`, the address users type, `site_urls`, those of sites by name, and `certificate_authority` (PEM), which
    users' browsers may trust.
    """

    url: pulumi.Output[str]
    site_urls: dict[str, pulumi.Output[str]]
    certificate_authority: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        config: GatewayConfig,
        *,
        cluster: Cluster,
        registry: Registry,
        hub: Hub,
        authority: Authority,
        sites: Sequence[Site] = (),
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Gateway", name, None, opts)
        inside = cluster.inside(self)
        host = pulumi.Output.from_input(config.hostname or cluster.public_address)
        # The last two are what a browser asks for at the end of an SSH tunnel.
        names: list[pulumi.Input[str]] = [host, cluster.public_address, cluster.address, "localhost", "127.0.0.1"]
        certificate = Certificate(name, _unique(names), authority=authority, opts=pulumi.ResourceOptions(parent=self))
        namespace = cluster.namespace(_NAMESPACE, level="privileged", parent=self)  # for ports of the machine
        written = pulumi.Output.all(host, hub.proxy_address).apply(
            lambda given: json.dumps(caddy_config(config, given[0], given[1], sites))
        )
        k8s.core.v1.ConfigMap(
            name, metadata={"name": "gateway", "namespace": namespace}, data={"caddy.json": written}, opts=inside
        )
        k8s.core.v1.Secret(
            name,
            metadata={"name": "gateway", "namespace": namespace},
            type="kubernetes.io/tls",
            string_data={
                "tls.crt": certificate.certificate,
                "tls.key": certificate.private_key,
                **{name: value for site in sites for name, value in site.variables.items()},
            },
            opts=inside,
        )
        k8s.networking.v1.NetworkPolicy(
            name, metadata={"name": "gateway", "namespace": namespace}, spec=network_policy(config, sites), opts=inside
        )
        caddies = k8s.apps.v1.DaemonSet(
            name,
            metadata={"name": "gateway", "namespace": namespace},
            spec=pulumi.Output.all(
                image=registry.image("gateway"), settings=digest(written, certificate.certificate)
            ).apply(lambda given: daemon_set_spec(config, sites=sites, **given)),
            opts=inside,
        )
        serving = pulumi.Output.all(host, caddies.id).apply(lambda given: str(given[0]))
        self.url = serving.apply(lambda name: public_url(name, config.https_port))
        self.site_urls = {one.name: _url_of(one, serving) for one in sites}
        self.certificate_authority = authority.certificate
        self.register_outputs({"url": self.url})


def public_url(host: str, https_port: int) -> str:
    """The address users type, without the port where it is HTTPS's own.

    >>> public_url("swan.example", 8443)
    'https://swan.example:8443'
    """
    return f"https://{host}" + ("" if https_port == 443 else f":{https_port}")


def caddy_config(config: GatewayConfig, host: str, proxy_address: str, sites: Sequence[Site] = ()) -> dict[str, Any]:
    """Caddy's own configuration (its JSON form): HTTPS to the proxy and to sites, plain HTTP to HTTPS.

    Args:
        config: What the stack says.
        host: The name or address that users type.
        proxy_address: Where the hub's proxy listens, "name:port".
        sites: What has a port of its own.
    """
    here = public_url("{http.request.host}", config.https_port)
    to_https = {
        "handler": "static_response",
        "status_code": 308,
        "headers": {"Location": [f"{here}{{http.request.uri}}"]},
    }
    to_hub = {"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": proxy_address}]}]}
    # Sites are configured here and not by the names in requests: nothing is to be issued or redirected by itself.
    by_hand = {"automatic_https": {"disable": True}}
    # Browsers name no server when they connect to an address, and another one through a tunnel.
    https = {"tls_connection_policies": [{"fallback_sni": host}], **by_hand}
    return {
        "admin": {"disabled": True},
        "apps": {
            "tls": {
                "certificates": {"load_files": [{"certificate": f"{_TLS}/tls.crt", "key": f"{_TLS}/tls.key"}]},
            },
            "http": {
                "servers": {
                    "https": {
                        "listen": [f":{_HTTPS_PORT}"],
                        "routes": [*(route for site in sites for route in site.service_routes), to_hub],
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


def network_policy(config: GatewayConfig, sites: Sequence[Site] = ()) -> dict[str, Any]:
    """Who may connect to the gateway, and that it may connect to the hub's proxy, to sites and to DNS only."""
    ports = (_HTTPS_PORT, _HTTP_PORT, *dict(_numbered(sites)))
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [from_networks(config.allowed_networks, *ports)],
        "egress": [
            DNS_EGRESS,
            {"to": [in_hub("proxy")], "ports": [tcp(PROXY_PORT)]},
            *(rule for site in sites for rule in site.egress),
        ],
    }


def daemon_set_spec(config: GatewayConfig, *, image: str, settings: str, sites: Sequence[Site] = ()) -> dict[str, Any]:
    """A Caddy on each control plane: the service's address leads to one of them.

    Args:
        config: What the stack says.
        image: Of Caddy.
        settings: A digest of what Caddy reads; another one starts it anew.
        sites: What has a port of its own.
    """
    secrets = {name: {"secretKeyRef": {"name": "gateway", "key": name}} for site in sites for name in site.variables}
    caddy = container(
        "caddy",
        image,
        args=["run", "--config", f"{_SETTINGS}/caddy.json"],
        ports={
            "https": (_HTTPS_PORT, config.https_port),
            "http": (_HTTP_PORT, config.http_port),
            **{site.name: (port, site.https_port) for port, site in _numbered(sites)},
        },
        mounts={"settings": _SETTINGS, "tls": _TLS, "scratch": SCRATCH},
        requests={"cpu": "20m", "memory": "40Mi"},
        limits={"memory": "256Mi"},
        env={"XDG_CONFIG_HOME": SCRATCH, "XDG_DATA_HOME": SCRATCH, **secrets},
        ready={"tcpSocket": {"port": "https"}, "periodSeconds": 2},
    )
    template = pod_template(
        _LABELS,
        caddy,
        annotations={"cygnet.io/settings": settings},
        volumes={
            "settings": {"configMap": {"name": "gateway"}},
            "tls": {
                "secret": {
                    "secretName": "gateway",
                    "defaultMode": 0o440,
                    "items": [{"key": key, "path": key} for key in ("tls.crt", "tls.key")],
                }
            },
            "scratch": {"emptyDir": {}},
        },
        on_control_plane=True,
    )
    return {"selector": {"matchLabels": _LABELS}, "template": template}


def _url_of(site: Site, host: pulumi.Output[str]) -> pulumi.Output[str]:
    return host.apply(lambda name: public_url(name, site.https_port))


def _numbered(sites: Sequence[Site]) -> list[tuple[int, Site]]:
    """Each site with its port inside the pod."""
    return list(enumerate(sites, _FIRST_SITE_PORT))


def _unique(names: list[pulumi.Input[str]]) -> pulumi.Output[list[str]]:
    return pulumi.Output.all(*names).apply(lambda given: list(dict.fromkeys(given)))

"""The gateway's pod: Caddy, its configuration, and where it may connect."""

from collections.abc import Mapping, Sequence
from typing import Any

from components.gateway_certificate import (
    ACME_AUTHORITY_FILE,
    AUTHORITY_FILE,
    ISSUER_FILE,
    ISSUER_KEY_FILE,
    STATE,
    CertificateConfig,
    addresses,
    caddy_apps,
)
from components.gateway_config import GatewayConfig, Site, public_url
from components.kubernetes import DNS_EGRESS, SCRATCH, container, pod_template
from components.policies import PROXY_PORT, from_networks, in_hub, outside, tcp

LABELS = {"app.kubernetes.io/name": "gateway"}
HTTPS_PORT = 8443  # inside the pod, which is not root
HTTP_PORT = 8080
_FIRST_SITE_PORT = 8444
_SETTINGS = "/etc/caddy"
# What was open when the settings were read anew stays open so long.
_STREAMS_STAY = "24h"
_HTTPS_ONLY_DAYS = 180  # for which browsers remember that the name is reached by HTTPS only


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
    to_hub = {"handle": [_told_to_browsers(config), proxied]}
    # Sites are configured here and not by the names in requests: nothing is to be issued or redirected by itself.
    by_hand = {"automatic_https": {"disable": True}}
    # Browsers name no server when they connect to an address.
    https = {"tls_connection_policies": [{"fallback_sni": addresses(names)[0]}], **by_hand, **_trusted(config)}
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
                http_port=HTTP_PORT,
                https_port=HTTPS_PORT,
            ),
            "http": {
                "servers": {
                    "https": {
                        "listen": [f":{HTTPS_PORT}"],
                        "routes": [*routes, *(route for site in sites for route in site.service_routes), to_hub],
                        **https,
                    },
                    "http": {"listen": [f":{HTTP_PORT}"], "routes": [{"handle": [to_https]}], **by_hand},
                    **{
                        site.name: {"listen": [f":{port}"], "routes": list(site.routes), **https}
                        for port, site in _numbered(sites)
                    },
                }
            },
        },
    }


def _told_to_browsers(config: GatewayConfig) -> dict[str, Any]:
    """What browsers are to do with the service's own pages, in headers; what is in these is the hub's to say."""
    headers = {"X-Content-Type-Options": ["nosniff"], "Referrer-Policy": ["same-origin"]}
    headers["X-Frame-Options"] = ["SAMEORIGIN"]  # as the hub's own policy says it to browsers that know policies
    if config.certificate.kind != "own":
        # Not with a certificate that only those trust who were told to: nobody else would even get to the warning.
        headers["Strict-Transport-Security"] = [f"max-age={_HTTPS_ONLY_DAYS * 24 * 3600}"]
    return {"handler": "headers", "response": {"deferred": True, "set": headers}}


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
    ports = (HTTPS_PORT, HTTP_PORT, *dict(_numbered(sites)))
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [from_networks(config.allowed_networks, *ports)],
        "egress": [
            DNS_EGRESS,
            {"to": [in_hub("proxy")], "ports": [tcp(PROXY_PORT)]},
            *sign_in,
            *(rule for site in sites for rule in site.egress),
            *([outside(not_outside)] if uses_acme(config) else []),
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
        "https": (HTTPS_PORT, config.https_port),
        "http": (HTTP_PORT, config.http_port),
        **{site.name: (port, site.https_port) for port, site in _numbered(sites)},
    }
    caddy = container(
        "caddy",
        image,
        args=["run", "--config", f"{_SETTINGS}/caddy.json", "--watch"],
        ports={name: (inner, outer) if on_machines else inner for name, (inner, outer) in ports.items()},
        mounts={
            "settings": _SETTINGS,
            "scratch": SCRATCH,
            **({"state": STATE} if uses_acme(config) else {}),
        },
        requests={"cpu": "20m", "memory": "40Mi"},
        limits={"memory": "256Mi"},
        env={"XDG_CONFIG_HOME": SCRATCH, "XDG_DATA_HOME": SCRATCH, **secrets},
        ready={"tcpSocket": {"port": "https"}, "periodSeconds": 2},
    )
    return pod_template(
        LABELS,
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
            **({"state": {"persistentVolumeClaim": {"claimName": "certificates"}}} if uses_acme(config) else {}),
        },
        on_control_plane=on_machines,
    )


def uses_acme(config: GatewayConfig) -> bool:
    """Whether Caddy asks an authority for its certificate."""
    return config.certificate.kind == "acme"


def _trusted(config: GatewayConfig) -> dict[str, Any]:
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


def _numbered(sites: Sequence[Site]) -> list[tuple[int, Site]]:
    """Each site with its port inside the pod."""
    return list(enumerate(sites, _FIRST_SITE_PORT))

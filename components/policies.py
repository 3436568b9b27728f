"""Network policies: where the hub, its proxy and sessions may go, and who may come to them."""

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from components.kubernetes import DNS_EGRESS
from components.sources.source import API_PORT

HUB_NAMESPACE = "hub"
SESSIONS_NAMESPACE = "sessions"
MONITOR_NAMESPACE = "monitor"
PROXY_PORT = 8000
PROXY_API_PORT = 8001
HUB_PORT = 8081
SIGN_IN_PORT = 8082
MONITOR_SIGN_IN_PORT = 8083
SESSION_PORT = 8888


def labels(name: str) -> dict[str, str]:
    """The labels of the pods of this name."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cygnet"}


def session_policy(not_outside: Sequence[str]) -> dict[str, Any]:
    """What a session may: answer the proxy and the hub; reach the hub, DNS and the outside, and nothing else of ours.

    Args:
        not_outside: Networks of pods, services and machines, and the link-local one.
    """
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [in_hub("proxy"), in_hub("hub")], "ports": [tcp(SESSION_PORT)]}],
        "egress": [
            DNS_EGRESS,
            {"to": [in_hub("hub")], "ports": [tcp(HUB_PORT)]},
            outside(not_outside),
        ],
    }


def outside(not_outside: Sequence[str]) -> dict[str, Any]:
    """An egress rule: whatever is in none of these networks."""
    return {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": sorted(not_outside)}}]}


def from_networks(networks: Sequence[IPv4Network], *ports: int) -> dict[str, Any]:
    """An ingress rule: who may come to these ports; without networks everyone may."""
    sources = [{"ipBlock": {"cidr": str(network)}} for network in networks]
    return {"ports": [tcp(port) for port in ports], **({"from": sources} if sources else {})}


def hub_policy(
    api_servers: Sequence[str],
    api_port: int = API_PORT,
    *,
    sign_in: Sequence[Mapping[str, Any]] = (),
    with_monitor: bool = False,
) -> dict[str, Any]:
    """The hub answers proxy, sessions and its own services; it reaches them and Kubernetes' API.

    Services of it answer the gateway, which asks who wants to see files, or the page of the monitor.

    Args:
        api_servers: The address of each control plane: policies see what a service's address was translated to.
        api_port: TCP, likewise.
        sign_in: Rules for whoever knows the users.
        with_monitor: Whether a Prometheus reads its figures.
    """
    doors = (SIGN_IN_PORT, *([MONITOR_SIGN_IN_PORT] if with_monitor else []))
    readers = [in_monitor("prometheus")] if with_monitor else []
    return {
        "podSelector": {"matchLabels": labels("hub")},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [
            {"from": [in_hub("proxy"), in_hub("hub"), _SESSIONS, *readers], "ports": [tcp(HUB_PORT)]},
            {"from": [in_namespace("gateway")], "ports": [tcp(port) for port in doors]},
        ],
        "egress": [
            DNS_EGRESS,
            {"to": [{"ipBlock": {"cidr": f"{address}/32"}} for address in api_servers], "ports": [tcp(api_port)]},
            {"to": [in_hub("hub")], "ports": [tcp(HUB_PORT)]},
            {"to": [in_hub("proxy")], "ports": [tcp(PROXY_API_PORT), tcp(PROXY_PORT)]},
            {"to": [_SESSIONS], "ports": [tcp(SESSION_PORT)]},
            *sign_in,
        ],
    }


def tcp(port: int, count: int = 1) -> dict[str, Any]:
    """A port, or several from that one on, as a network policy names them."""
    return {"protocol": "TCP", "port": port, **({"endPort": port + count - 1} if count > 1 else {})}


def in_namespace(name: str) -> dict[str, Any]:
    """All pods of a namespace, likewise."""
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def in_hub(name: str) -> dict[str, Any]:
    """The pods of this name beside the hub, likewise."""
    return {**in_namespace(HUB_NAMESPACE), "podSelector": {"matchLabels": labels(name)}}


def in_monitor(name: str) -> dict[str, Any]:
    """The pods of this name beside Prometheus, likewise."""
    return {**in_namespace(MONITOR_NAMESPACE), "podSelector": {"matchLabels": labels(name)}}


_SESSIONS = in_namespace(SESSIONS_NAMESPACE)

IMAGES_POLICY: dict[str, Any] = {
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "moving-images"}},
    "policyTypes": ["Ingress", "Egress"],
}
"""What only has images pulled talks to nobody."""

PROXY_POLICY: dict[str, Any] = {
    "podSelector": {"matchLabels": labels("proxy")},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {"from": [in_namespace("gateway")], "ports": [tcp(PROXY_PORT)]},
        {"from": [in_hub("hub")], "ports": [tcp(PROXY_API_PORT), tcp(PROXY_PORT)]},
    ],
    "egress": [
        DNS_EGRESS,
        {"to": [in_hub("hub")], "ports": [tcp(HUB_PORT)]},
        {"to": [_SESSIONS], "ports": [tcp(SESSION_PORT)]},
    ],
}
"""The proxy answers the gateway and obeys the hub; it reaches the hub and sessions."""

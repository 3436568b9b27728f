"""Network policies: where the hub, its proxy and sessions may go, and who may come to them."""

from typing import Any

import pulumi

from components.kubernetes import DNS_EGRESS

HUB_NAMESPACE = "hub"
SESSIONS_NAMESPACE = "sessions"
PROXY_PORT = 8000
PROXY_API_PORT = 8001
HUB_PORT = 8081
SESSION_PORT = 8888


def labels(name: str) -> dict[str, str]:
    """The labels of the pods of this name."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "cygnet"}


def session_policy(not_outside: list[str]) -> dict[str, Any]:
    """What a session may: answer the proxy and the hub; reach the hub, DNS and the outside, and nothing else of ours.

    Args:
        not_outside: Networks of pods, services and machines, and the link-local one.
    """
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_in_hub("proxy"), _in_hub("hub")], "ports": [_tcp(SESSION_PORT)]}],
        "egress": [
            DNS_EGRESS,
            {"to": [_in_hub("hub")], "ports": [_tcp(HUB_PORT)]},
            {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": sorted(not_outside)}}]},
        ],
    }


def hub_policy(api_server: pulumi.Input[str]) -> dict[str, Any]:
    """The hub answers proxy, sessions and its own services (the idle culler); it reaches them and the API server."""
    return {
        "podSelector": {"matchLabels": labels("hub")},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [_in_hub("proxy"), _in_hub("hub"), _SESSIONS], "ports": [_tcp(HUB_PORT)]}],
        "egress": [
            DNS_EGRESS,
            {"to": [{"ipBlock": {"cidr": api_server}}], "ports": [_tcp(6443)]},
            {"to": [_in_hub("hub")], "ports": [_tcp(HUB_PORT)]},
            {"to": [_in_hub("proxy")], "ports": [_tcp(PROXY_API_PORT), _tcp(PROXY_PORT)]},
            {"to": [_SESSIONS], "ports": [_tcp(SESSION_PORT)]},
        ],
    }


def _tcp(port: int) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _in_namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _in_hub(name: str) -> dict[str, Any]:
    return {**_in_namespace(HUB_NAMESPACE), "podSelector": {"matchLabels": labels(name)}}


_SESSIONS = _in_namespace(SESSIONS_NAMESPACE)

PROXY_POLICY: dict[str, Any] = {
    "podSelector": {"matchLabels": labels("proxy")},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {"from": [_in_namespace("gateway")], "ports": [_tcp(PROXY_PORT)]},
        {"from": [_in_hub("hub")], "ports": [_tcp(PROXY_API_PORT), _tcp(PROXY_PORT)]},
    ],
    "egress": [
        DNS_EGRESS,
        {"to": [_in_hub("hub")], "ports": [_tcp(HUB_PORT)]},
        {"to": [_SESSIONS], "ports": [_tcp(SESSION_PORT)]},
    ],
}
"""The proxy answers the gateway and obeys the hub; it reaches the hub and sessions."""

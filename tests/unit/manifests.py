"""What Kubernetes makes of a manifest: its pod security levels, and where a network policy lets pods go."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

_VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
_PROFILES = ("RuntimeDefault", "Localhost")


def containers(pod: Mapping[str, Any]) -> list[dict[str, Any]]:
    """All containers of a pod's spec."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def violations(pod: Mapping[str, Any]) -> list[str]:
    """What the pod security level `restricted` refuses in a pod's spec; the rules are those of Kubernetes' own page."""
    return [*_of_pod(pod), *(f"{one['name']}: {what}" for one in containers(pod) for what in _of_container(one, pod))]


def _of_pod(pod: Mapping[str, Any]) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield key
    for volume in pod.get("volumes", []):
        kinds = {kind for kind, content in volume.items() if kind != "name" and content is not None}
        if not kinds <= _VOLUMES:
            yield f"volume {volume['name']}"


def _of_container(one: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    own, shared = one.get("securityContext") or {}, pod.get("securityContext") or {}
    either = {**shared, **{key: value for key, value in own.items() if value is not None}}
    capabilities = own.get("capabilities") or {}
    if own.get("privileged"):
        yield "privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation"
    if "ALL" not in capabilities.get("drop", []) or set(capabilities.get("add", [])) - {"NET_BIND_SERVICE"}:
        yield "capabilities"
    if either.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if either.get("runAsUser") == 0:
        yield "runAsUser"
    if (either.get("seccompProfile") or {}).get("type") not in _PROFILES:
        yield "seccompProfile"
    if any(port.get("hostPort") for port in one.get("ports") or []):
        yield "hostPort"


def careless(pod: Mapping[str, Any]) -> list[str]:
    """What Kubernetes would take, and we do not: no limits, a writable root, a token that nobody needs."""
    found = []
    for one in containers(pod):
        resources = one.get("resources") or {}
        if not {"cpu", "memory"} <= set(resources.get("requests") or {}) or "memory" not in resources.get("limits", {}):
            found.append(f"{one['name']}: resources")
        if not one["securityContext"].get("readOnlyRootFilesystem"):
            found.append(f"{one['name']}: readOnlyRootFilesystem")
    if pod.get("automountServiceAccountToken") is not bool(pod.get("serviceAccountName")):
        found.append("automountServiceAccountToken")
    return found


def lets_out(policy: Mapping[str, Any], address: str) -> bool:
    """Whether a network policy lets its pods reach an address that is given as such (not by a selector)."""
    blocks = [peer["ipBlock"] for rule in policy["egress"] for peer in rule["to"] if "ipBlock" in peer]
    target = ip_address(address)
    return any(
        target in ip_network(block["cidr"])
        and not any(target in ip_network(taken) for taken in block.get("except", []))
        for block in blocks
    )


def lets_in(policy: Mapping[str, Any], address: str, port: int) -> bool:
    """Whether a network policy lets an address reach a port of its pods."""
    for rule in policy["ingress"]:
        peers = rule.get("from", [{"ipBlock": {"cidr": "0.0.0.0/0"}}])
        blocks = [ip_network(peer["ipBlock"]["cidr"]) for peer in peers if "ipBlock" in peer]
        ports = [one["port"] for one in rule["ports"]]
        if port in ports and any(ip_address(address) in block for block in blocks):
            return True
    return False

"""What connects local machines: links, namespaces, one route and one rule, made with `ip`.

    the host                  namespace cygnet3              namespace cygnet-local-worker-1
    cygnet3, 10.240.3.1 ----- host -- bridge -- worker-1 --- eth0, 10.240.3.21

The bridge is in a namespace of its own, so that what machines send each other passes none of the host's filters:
container engines and firewalls let the host forward nothing that they do not know. For the host all of it is one
interface.
"""

import contextlib
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Final

from components.local_machines import names
from components.local_machines.host import HostError, ip, run
from components.local_machines.names import Label

RULE_PRIORITY: Final = 10240
_ROUTE_METRIC: Final = "4096"
_NAMESPACES: Final = Path("/run/netns")
_BRIDGE: Final = "bridge"


def connect_host(number: int, stack: str) -> None:
    """Makes a stack's bridge and the host's interface at it, or completes them; repairs what was taken down."""
    inside = names.link(number)
    _ensure_namespace(inside)
    if not _link(_BRIDGE, inside):
        run("ip", "-n", inside, "link", "add", _BRIDGE, "type", "bridge")
    run("ip", "-n", inside, "link", "set", _BRIDGE, "up")
    near = names.link(number)
    if not _link(near):
        run(
            "ip", "link", "add", near, "address", _hardware_address(number, 1), "type", "veth",
            "peer", "name", "host", "netns", inside,
        )  # fmt: skip
    run("ip", "-n", inside, "link", "set", "host", "master", _BRIDGE, "up")
    ipv6 = Path(f"/proc/sys/net/ipv6/conf/{near}/disable_ipv6")
    if ipv6.exists():
        ipv6.write_text("1")
    # Only a link that forwards answers what may not pass; without an answer each attempt waits for its timeout.
    Path(f"/proc/sys/net/ipv4/conf/{near}/forwarding").write_text("1")
    run("ip", "address", "replace", f"{names.host_address(number)}/24", "dev", near)
    run("ip", "link", "set", near, "alias", f"cygnet-{stack}", "up")
    # When the link is gone, packets for machines must not take the host's default route.
    if not _has_route(number):
        run("ip", "route", "add", "blackhole", str(names.subnet(number)), "metric", _ROUTE_METRIC)
    # What machines send is for the host itself (the local table is asked before this rule) or for nobody.
    if not _has_rule(number):
        run("ip", "rule", "add", "iif", near, "unreachable", "priority", str(RULE_PRIORITY))


def host_is_connected(number: int) -> bool:
    """Whether the host has its address at a stack's bridge, and no packet would leave the host."""
    near, inside = names.link(number), names.link(number)
    addresses = [address for link in ip("address", "show") if link["ifname"] == near for address in link["addr_info"]]
    has_address = str(names.host_address(number)) in [address["local"] for address in addresses]
    plugged = _is_namespace(inside) and _is_plugged(_link("host", inside))
    return has_address and plugged and _has_route(number) and _has_rule(number)


def remove(number: int) -> None:
    """Removes rule, route, interface and bridge of a stack, as far as they are there."""
    while _has_rule(number):
        run("ip", "rule", "del", "iif", names.link(number), "unreachable", "priority", str(RULE_PRIORITY))
    if _has_route(number):
        run("ip", "route", "del", "blackhole", str(names.subnet(number)), "metric", _ROUTE_METRIC)
    if _link(names.link(number)):
        run("ip", "link", "del", names.link(number))
    _remove_namespace(names.link(number))


def connect_machine(number: int, label: Label, address: IPv4Address) -> None:
    """Makes a machine's namespace with eth0 in it, and the other end at the bridge, or completes them."""
    inside, far = names.link(number), str(label)
    _ensure_namespace(far)
    if not _link(label.machine, inside):
        run(
            "ip", "-n", inside, "link", "add", label.machine, "type", "veth",
            "peer", "name", "eth0", "address", _hardware_address(number, names.octet(label.machine)), "netns", far,
        )  # fmt: skip
    run("ip", "-n", inside, "link", "set", label.machine, "master", _BRIDGE, "up")
    # No router on this cable speaks IPv6; one that says so is not ours.
    if Path("/proc/sys/net/ipv6").exists():
        run("ip", "netns", "exec", far, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_ra")
    run("ip", "-n", far, "address", "replace", f"{address}/24", "dev", "eth0")
    run("ip", "-n", far, "link", "set", "eth0", "up")
    # Nothing is reachable this way, but without a default route a packet for a service's address goes nowhere
    # before kube-proxy's rules could turn it.
    run("ip", "-n", far, "route", "replace", "default", "via", str(names.host_address(number)))


def machine_is_connected(number: int, label: Label) -> bool:
    """Whether a machine's namespace is there and its cable at the bridge."""
    inside = names.link(number)
    return _is_namespace(str(label)) and _is_namespace(inside) and _is_plugged(_link(label.machine, inside))


def disconnect_machine(number: int | None, label: Label) -> None:
    """Removes a machine's cable and namespace, as far as they are there."""
    if number is not None and _is_namespace(names.link(number)) and _link(label.machine, names.link(number)):
        run("ip", "-n", names.link(number), "link", "del", label.machine)
    _remove_namespace(str(label))


def namespaces() -> list[str]:
    """The network namespaces of stacks and machines, by name."""
    return sorted(file.name for file in _NAMESPACES.glob("cygnet*"))


def leave_namespaces() -> None:
    """Unmounts the folder that `ip netns add` mounts onto itself, unless someone else has a namespace there."""
    if _NAMESPACES.is_dir() and not any(_NAMESPACES.iterdir()):
        with contextlib.suppress(HostError, OSError):
            run("umount", str(_NAMESPACES))
            _NAMESPACES.rmdir()


def stacks() -> dict[str, str]:
    """The host's interfaces in networks of stacks, each with the stack it was made for."""
    ours = (link for link in ip("link", "show") if names.number_of_link(link["ifname"]) is not None)
    return {link["ifname"]: link.get("ifalias", "").removeprefix("cygnet-") for link in ours}


def rules() -> dict[str, int]:
    """The rules that keep packets of machines on this host: the interface, and the stack number."""
    ours = (rule.get("iif", "") for rule in ip("rule", "show") if rule["priority"] == RULE_PRIORITY)
    return {name: number for name in ours if (number := names.number_of_link(name)) is not None}


def routes() -> dict[str, int]:
    """The routes that keep packets for machines on this host: the destination, and the stack number."""
    ours = (route["dst"] for route in ip("route", "show", "type", "blackhole"))
    return {name: number for name in ours if (number := names.number_of_subnet(name)) is not None}


def _has_route(number: int) -> bool:
    return number in routes().values()


def _has_rule(number: int) -> bool:
    return number in rules().values()


def _link(name: str, namespace: str | None = None) -> dict[str, Any] | None:
    where = ("-n", namespace) if namespace else ()
    return next((link for link in ip(*where, "link", "show") if link["ifname"] == name), None)


def _is_plugged(link: Mapping[str, Any] | None) -> bool:
    return link is not None and link.get("master") == _BRIDGE and "UP" in link["flags"]


def _ensure_namespace(name: str) -> None:
    if not _is_namespace(name):
        (_NAMESPACES / name).unlink(missing_ok=True)  # left by a kill between the two steps of `ip netns add`
        run("ip", "netns", "add", name)
    run("ip", "-n", name, "link", "set", "lo", "up")


def _is_namespace(name: str) -> bool:
    """Whether the file is a namespace that is mounted, and not what a killed `ip netns add` leaves."""
    try:
        return (_NAMESPACES / name).stat().st_dev != _NAMESPACES.stat().st_dev
    except FileNotFoundError:
        return False


def _remove_namespace(name: str) -> None:
    if (_NAMESPACES / name).exists():
        run("ip", "netns", "del", name)


def _hardware_address(number: int, last: int) -> str:
    """A locally administered MAC address that neighbours may remember: it is the same after a repair."""
    return f"02:00:0a:f0:{number:02x}:{last:02x}"

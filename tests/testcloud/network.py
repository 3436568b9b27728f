"""The cloud's cables to this host, and what keeps all packets of it here."""

from components.local_machines import host
from components.local_machines.host import ip, run
from tests.testcloud import names
from tests.testcloud.processes import CloudError

_PRIORITY = "10241"
_METRIC = "4096"


def connect() -> None:
    """Makes the fabric's namespace and a cable to it for each flat network. No packet leaves this host.

    Raises:
        CloudError: The addresses are used by something else.
    """
    _check_free()
    run("ip", "netns", "add", names.FABRIC)
    run("ip", "-n", names.FABRIC, "link", "set", "lo", "up")
    # Without the cables packets for servers must not take the host's default route.
    run("ip", "route", "add", "blackhole", str(names.ADDRESSES), "metric", _METRIC)
    for physical, network in names.FLAT_NETWORKS.items():
        link = names.uplink(physical)
        # What servers send is for this host itself (the local table is asked before this rule) or for nobody.
        run("ip", "rule", "add", "iif", link, "unreachable", "priority", _PRIORITY)
        run("ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", names.FABRIC)
        run("ip", "address", "add", f"{names.gateway(network)}/{network.prefixlen}", "dev", link)
        run("ip", "link", "set", link, "up")


def disconnect() -> None:
    """Removes all links, namespaces, rules and routes of the cloud, as far as they are there."""
    for name in namespaces():
        run("ip", "netns", "del", name)
    for link in links():
        # Their other ends may have gone with a namespace just now, and they with these.
        host.succeeds("ip", "link", "del", link)
    for rule in rules():
        run("ip", "rule", "del", "iif", rule, "unreachable", "priority", _PRIORITY)
    if has_route():
        run("ip", "route", "del", "blackhole", str(names.ADDRESSES), "metric", _METRIC)


def namespaces() -> list[str]:
    """The cloud's network namespaces."""
    ours = (entry["name"] for entry in ip("netns", "list"))
    return sorted(name for name in ours if name == names.FABRIC or name.startswith(f"{names.WORD}-"))


def links() -> list[str]:
    """This host's ends of the cables."""
    return sorted(link["ifname"] for link in ip("link", "show") if link["ifname"].startswith(f"{names.WORD}-"))


def rules() -> list[str]:
    """The links whose packets stay here by a rule."""
    return sorted(rule["iif"] for rule in ip("rule", "show") if rule.get("iif", "").startswith(f"{names.WORD}-"))


def has_route() -> bool:
    """Whether packets for the cloud stay here."""
    return str(names.ADDRESSES) in [route["dst"] for route in ip("route", "show", "type", "blackhole")]


def _check_free() -> None:
    own = [address["local"] for link in ip("address") for address in link.get("addr_info", [])]
    routes = [route["dst"] for route in ip("route", "show", "table", "all")]
    start = ".".join(str(names.ADDRESSES.network_address).split(".")[:2]) + "."
    if used := [address for address in [*own, *routes] if address.startswith(start)]:
        raise CloudError(
            f"test cloud: {', '.join(used)} is used on this host, and all of {names.ADDRESSES} has to be free; "
            "choose another network in tests/testcloud/names.py"
        )

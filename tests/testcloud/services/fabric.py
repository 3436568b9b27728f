"""Makes Neutron's networks real on this host: `python -m tests.testcloud.services.fabric`.

    network           a bridge in the namespace of the fabric
    flat network      also a cable to this host, which has the gateway's address at its end
    router            a namespace with a cable to each of its networks, source NAT, and the floating IPs
    security group    rules of iptables on the bridges (`firewall`)

All of it is compared with Neutron whenever Neutron tells of a change, and every ten seconds.
"""

import select
import socket
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import openstack

from tests.testcloud import names
from tests.testcloud.services import commands, firewall

_AT_LEAST_EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Seen:
    """What Neutron has."""

    networks: list[Any]
    subnets: dict[str, Any]
    ports: list[Any]
    routers: list[Any]
    floating_ips: list[Any]
    rules: list[Any]

    @classmethod
    def of(cls, neutron: Any) -> "Seen":
        """As Neutron says it now."""
        return cls(
            networks=list(neutron.networks()),
            subnets={subnet.id: subnet for subnet in neutron.subnets()},
            ports=list(neutron.ports()),
            routers=list(neutron.routers()),
            floating_ips=list(neutron.ips()),
            rules=list(neutron.security_group_rules()),
        )


class Fabric:
    """What was made so far, and how to make the rest."""

    def __init__(self) -> None:
        self._applied: dict[Hashable, Any] = {}
        commands.ensure_namespace(names.FABRIC)
        _sysctl(names.FABRIC, "net.bridge.bridge-nf-call-iptables=1")
        _sysctl(names.FABRIC, "net.ipv6.conf.all.disable_ipv6=1")

    def reconcile(self, seen: Seen) -> None:
        """Brings this host to what Neutron has."""
        self._bridges(seen)
        for router in seen.routers:
            self._router(router, seen)
        wanted = {names.router(router.id) for router in seen.routers}
        for name in commands.namespaces():
            if name.startswith(names.router("")) and name not in wanted:
                commands.run("ip", "netns", "del", name)
                self._forget(name)
        self._once("firewall", firewall.ruleset(seen.ports, seen.rules), _restore_rules)

    def _bridges(self, seen: Seen) -> None:
        there = commands.interfaces(names.FABRIC)
        wanted = {names.bridge(network.id): network for network in seen.networks}
        for bridge, network in wanted.items():
            if bridge not in there:
                in_fabric = ("ip", "-n", names.FABRIC, "link")
                commands.run(*in_fabric, "add", bridge, "type", "bridge", "forward_delay", "0", check=False)
                commands.run(*in_fabric, "set", bridge, "up")
            if network.provider_network_type == "flat":
                self._uplink(names.uplink(network.provider_physical_network), bridge)
        for bridge in there:
            if bridge.startswith(names.bridge("")) and bridge not in wanted:
                commands.run("ip", "-n", names.FABRIC, "link", "del", bridge)

    def _uplink(self, link: str, bridge: str) -> None:
        """Moves the fabric's end of this host's cable to the bridge."""
        inside = ("ip", "-n", names.FABRIC, "link", "set", link, "master", bridge, "up")
        self._once((link, "bridge"), bridge, lambda _: commands.run(*inside))

    def _router(self, router: Any, seen: Seen) -> None:
        name = names.router(router.id)
        commands.ensure_namespace(name)
        self._once((name, "forward"), True, lambda _: _sysctl(name, "net.ipv4.ip_forward=1"))
        there, wanted = commands.interfaces(name), set()
        outside = None
        for port in seen.ports:
            if port.device_id == router.id:
                is_gateway = port.device_owner == "network:router_gateway"
                device = f"{'out' if is_gateway else 'in'}-{port.id[:10]}"
                wanted.add(device)
                if device not in there:
                    _plug_router(name, device, port)
                for fixed in port.fixed_ips:
                    subnet = seen.subnets[fixed["subnet_id"]]
                    own = f"{fixed['ip_address']}/{IPv4Network(subnet.cidr).prefixlen}"
                    self._once((name, device, own), True, lambda _, own=own, device=device: _address(name, own, device))
                    if is_gateway:
                        outside = (device, fixed["ip_address"], subnet.gateway_ip)
        for device in there - wanted - {"lo"}:
            commands.run("ip", "-n", name, "link", "del", device, check=False)
            self._forget(name, device)
        floating = [ip for ip in seen.floating_ips if ip.router_id == router.id and ip.fixed_ip_address]
        self._translate(name, router, outside, floating)

    def _translate(self, name: str, router: Any, outside: tuple[str, str, str] | None, floating: Iterable[Any]) -> None:
        """The router's way out, its source NAT, and its floating IPs."""
        before, after = [], []
        own: set[str] = set()
        if outside:
            device, address, gateway = outside
            way_out = ("ip", "-n", name, "route", "replace", "default", "via", gateway)
            self._once((name, device, "default"), gateway, lambda _: commands.run(*way_out))
            for ip in floating:
                own.add(ip.floating_ip_address)
                before.append(f"ip daddr {ip.floating_ip_address} dnat to {ip.fixed_ip_address}")
                after.append(f'ip saddr {ip.fixed_ip_address} oifname "{device}" snat to {ip.floating_ip_address}')
            if (router.external_gateway_info or {}).get("enable_snat", True):
                after.append(f'oifname "{device}" snat to {address}')
            former = self._applied.get((name, device, "floating"), set())
            for ip_address in own - former:
                _address(name, f"{ip_address}/32", device)
            for ip_address in former - own:
                commands.run("ip", "-n", name, "address", "del", f"{ip_address}/32", "dev", device, check=False)
            self._applied[(name, device, "floating")] = own
        table = "\n".join(
            [
                "add table ip testcloud", "delete table ip testcloud", "table ip testcloud {",
                "chain before { type nat hook prerouting priority -100;", *before, "}",
                "chain after { type nat hook postrouting priority 100;", *after, "}", "}",
            ]
        )  # fmt: skip
        self._once((name, "nft"), table, lambda text: _in(name, "nft", "-f", "-", stdin=f"{text}\n"))

    def _once(self, key: Hashable, value: Any, apply: Any) -> None:
        """Applies a value that was not applied before."""
        if self._applied.get(key) != value:
            apply(value)
            self._applied[key] = value

    def _forget(self, *start: str) -> None:
        """What is gone has to be applied again if it comes back."""
        for key in [key for key in self._applied if isinstance(key, tuple) and key[: len(start)] == start]:
            del self._applied[key]


def _plug_router(router: str, device: str, port: Any) -> None:
    far = f"r{port.id[:11]}"
    bridge = names.bridge(port.network_id)
    commands.run(
        "ip", "-n", router, "link", "add", device, "address", port.mac_address, "type", "veth",
        "peer", "name", far, "netns", names.FABRIC,
    )  # fmt: skip
    commands.run("ip", "-n", names.FABRIC, "link", "set", far, "master", bridge, "up")
    commands.run("ip", "-n", router, "link", "set", device, "up")


def _address(namespace: str, address: str, device: str) -> None:
    commands.run("ip", "-n", namespace, "address", "replace", address, "dev", device)


def _restore_rules(text: str) -> None:
    _in(names.FABRIC, "iptables-restore", stdin=text)


def _in(namespace: str, *argv: str, stdin: str = "") -> None:
    commands.run("ip", "netns", "exec", namespace, *argv, stdin=stdin)


def _sysctl(namespace: str, setting: str) -> None:
    _in(namespace, "sysctl", "--quiet", "--write", setting)


def main() -> None:
    """Reconciles for ever. What goes wrong is told and tried again: the cloud changes while we look."""
    told = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    told.bind((names.LOOPBACK, names.FABRIC_PORT))
    told.setblocking(False)
    fabric = Fabric()
    neutron = openstack.connect(cloud="admin").network
    while True:
        try:
            fabric.reconcile(Seen.of(neutron))
        except Exception as error:  # it must not end
            print(f"{type(error).__name__}: {error}", flush=True)
        select.select([told], [], [], _AT_LEAST_EVERY_SECONDS)
        time.sleep(0.05)  # changes come in swarms
        try:
            while told.recv(64):
                pass
        except BlockingIOError:
            pass


if __name__ == "__main__":
    main()

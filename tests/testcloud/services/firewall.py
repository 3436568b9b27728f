"""Security groups as rules of iptables, as Neutron's own agent writes them for bridges."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.testcloud import names


def ruleset(ports: Iterable[Mapping[str, Any]], rules: Iterable[Mapping[str, Any]]) -> str:
    """The whole table, for iptables-restore: what no rule allows to or from a server's port is dropped.

    Args:
        ports: Neutron's ports; those of servers count.
        rules: Neutron's security group rules.
    """
    servers = sorted(
        (port for port in ports if port["device_owner"].startswith("compute:")), key=lambda port: port["id"]
    )
    by_group: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for rule in rules:
        by_group[rule["security_group_id"]].append(rule)
    members: dict[str, list[str]] = defaultdict(list)
    for port in servers:
        for group in port["security_group_ids"] or []:
            members[group] += _addresses(port)
    chains, jumps = [], []
    for port in servers:
        if port["is_port_security_enabled"]:
            own = [rule for group in port["security_group_ids"] or [] for rule in by_group[group]]
            for direction, side in (("ingress", "out"), ("egress", "in")):
                chain = f"{direction[0]}-{port['id'][:11]}"
                chains.append((chain, list(_body(port, direction, own, members))))
                tap = names.tap(port["id"])
                jumps.append(f"-A FORWARD -m physdev --physdev-is-bridged --physdev-{side} {tap} -j {chain}")
    lines = [
        "*filter", ":INPUT ACCEPT [0:0]", ":FORWARD ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
        *(f":{chain} - [0:0]" for chain, _ in chains),
        *jumps,
        *(f"-A {chain} {rule}" for chain, body in chains for rule in body),
        "COMMIT",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _body(
    port: Mapping[str, Any], direction: str, rules: Iterable[Mapping[str, Any]], members: Mapping[str, list[str]]
) -> Iterator[str]:
    # A server sends from its own addresses only.
    for sender in [f"-s {address} " for address in _addresses(port)] if direction == "egress" else [""]:
        yield f"{sender}-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
        for rule in rules:
            if rule["direction"] == direction and rule["ether_type"] == "IPv4":
                yield from (f"{sender}{match}-j RETURN" for match in _matches(rule, members))
    yield "-j DROP"


def _matches(rule: Mapping[str, Any], members: Mapping[str, list[str]]) -> Iterator[str]:
    """What a rule matches: for one that names a group, a line for each address of its members."""
    match = ""
    if protocol := rule["protocol"]:
        match += f"-p {protocol} "
        if rule["port_range_min"] is not None and str(protocol) in ("tcp", "udp", "6", "17"):
            match += f"--dport {rule['port_range_min']}:{rule['port_range_max']} "
    far = "-s" if rule["direction"] == "ingress" else "-d"
    if group := rule["remote_group_id"]:
        yield from (f"{match}{far} {address} " for address in sorted(set(members.get(group, []))))
    elif prefix := rule["remote_ip_prefix"]:
        yield f"{match}{far} {prefix} "
    else:
        yield match


def _addresses(port: Mapping[str, Any]) -> list[str]:
    """From where a port may send: its own addresses, and those that it shares with others."""
    given = [*port["fixed_ips"], *(port["allowed_address_pairs"] or [])]
    return [one["ip_address"] for one in given if ":" not in one["ip_address"]]

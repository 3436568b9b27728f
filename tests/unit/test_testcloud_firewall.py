"""The test cloud's firewall: what security groups become."""

from typing import Any

from tests.testcloud.services.firewall import ruleset


def port(number: int, *groups: str, **more: Any) -> dict[str, Any]:
    address = {"ip_address": f"192.0.2.{number}"}
    own = {"id": f"port-{number}", "device_owner": "compute:nova", "is_port_security_enabled": True}
    return {
        **own, "security_group_ids": list(groups), "fixed_ips": [address], "allowed_address_pairs": [], **more,
    }  # fmt: skip


def rule(group: str, **more: Any) -> dict[str, Any]:
    any_protocol = {"protocol": None, "port_range_min": None, "port_range_max": None}
    anyone = {"remote_group_id": None, "remote_ip_prefix": None}
    return {"security_group_id": group, "direction": "ingress", "ether_type": "IPv4", **any_protocol, **anyone, **more}


def chain(name: str, text: str) -> list[str]:
    """The rules of a chain, in order."""
    return [line.removeprefix(f"-A {name} ") for line in text.splitlines() if line.startswith(f"-A {name} ")]


def test_without_a_rule_only_answers_pass() -> None:
    found = chain("i-port-1", ruleset([port(1, "a")], []))
    assert found == ["-m conntrack --ctstate ESTABLISHED,RELATED -j RETURN", "-j DROP"]


def test_a_rule_opens_a_port_for_a_network() -> None:
    ssh = rule("a", protocol="tcp", port_range_min=22, port_range_max=22, remote_ip_prefix="198.51.100.0/24")
    assert "-p tcp --dport 22:22 -s 198.51.100.0/24 -j RETURN" in chain("i-port-1", ruleset([port(1, "a")], [ssh]))
    assert len(chain("i-port-2", ruleset([port(1, "a"), port(2, "b")], [ssh]))) == 2


def test_a_rule_that_names_a_group_opens_for_its_members() -> None:
    text = ruleset([port(1, "a"), port(2, "a"), port(3, "b")], [rule("a", remote_group_id="a")])
    assert chain("i-port-1", text)[1:-1] == ["-s 192.0.2.1 -j RETURN", "-s 192.0.2.2 -j RETURN"]


def test_a_server_cannot_send_from_an_address_that_is_not_its_own() -> None:
    text = ruleset([port(1, "a")], [rule("a", direction="egress")])
    *passes, last = chain("e-port-1", text)
    assert last == "-j DROP"
    assert "-s 192.0.2.1 -j RETURN" in passes
    assert all(one.startswith("-s 192.0.2.1 ") for one in passes)


def test_it_can_from_one_that_it_shares_and_counts_with_that_as_a_member() -> None:
    shares = {"allowed_address_pairs": [{"ip_address": "192.0.2.99"}]}
    both = [rule("a", direction="egress"), rule("a", remote_group_id="a")]
    text = ruleset([port(1, "a", **shares), port(2, "a")], both)
    assert "-s 192.0.2.99 -j RETURN" in chain("e-port-1", text)
    assert "-s 192.0.2.99 -j RETURN" not in chain("e-port-2", text)
    assert "-s 192.0.2.99 -j RETURN" in chain("i-port-2", text)


def test_ports_of_routers_and_unprotected_ones_have_no_chain() -> None:
    text = ruleset([port(1, device_owner="network:router_interface"), port(2, is_port_security_enabled=False)], [])
    assert "port-" not in text


def test_every_port_is_sent_through_its_chains_by_its_cable() -> None:
    text = ruleset([port(1, "a")], [])
    assert "-A FORWARD -m physdev --physdev-is-bridged --physdev-out tapport-1 -j i-port-1" in text
    assert "-A FORWARD -m physdev --physdev-is-bridged --physdev-in tapport-1 -j e-port-1" in text

"""The test cloud is a cloud: what a user asks for is there, what is not allowed is refused, what is deleted is gone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from tests.testcloud import apis, names, network
from tests.testcloud.preparation import IMAGE
from tests.testcloud.server import Keys, address, ask_for, opens, until
from tests.testcloud.settings import HOSTS

_MANY = 10  # hundreds work as well, and take minutes


@dataclass
class Servers:
    """Two servers: one on the network that this host is on, one behind a router with a floating IP."""

    near: Any
    far: Any
    near_address: str
    floating_address: str
    group: Any
    keys: Keys


@pytest.fixture(scope="module")
def servers(demo: Connection, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    keys = Keys.new(tmp_path_factory.mktemp("keys"))
    demo.compute.create_keypair(name="test", public_key=keys.public)
    group = demo.network.create_security_group(name="test-ssh")
    _allow(demo, group, 22)
    inner = demo.network.create_network(name="test")
    subnet = demo.network.create_subnet(
        network_id=inner.id, ip_version=4, cidr="192.168.90.0/24", dns_nameservers=["192.0.2.53"]
    )
    outer = demo.network.find_network("ext", ignore_missing=False)
    router = demo.network.create_router(name="test", external_gateway_info={"network_id": outer.id})
    demo.network.add_interface_to_router(router, subnet=subnet.id)
    ours = demo.network.find_network("prov", ignore_missing=False)
    near = ask_for(demo, "test-near", ours.id, keys, ["test-ssh"], key_name="test")
    far = ask_for(demo, "test-far", inner.id, keys, ["test-ssh"], key_name="test")
    try:
        near_address = address(demo, near)
        address(demo, far)
        port = next(demo.network.ports(device_id=far.id))
        floating = demo.network.create_ip(floating_network_id=outer.id, port_id=port.id)
        yield Servers(near, far, near_address, floating.floating_ip_address, group, keys)
        demo.network.delete_ip(floating)
    finally:
        for server in (near, far):
            demo.compute.delete_server(server)
            demo.compute.wait_for_delete(server, wait=120)
        demo.network.remove_interface_from_router(router, subnet=subnet.id)
        demo.network.delete_router(router)
        demo.network.delete_network(inner)
        demo.network.delete_security_group(group)
        demo.compute.delete_keypair("test")


def _allow(cloud: Connection, group: Any, port: int) -> Any:
    return cloud.network.create_security_group_rule(
        security_group_id=group.id, direction="ingress", protocol="tcp", port_range_min=port, port_range_max=port
    )


# The services


def test_every_service_of_nova_and_cinder_reports(admin: Connection) -> None:
    # What was prepared says when each was last heard of, which is long ago: they report anew every few seconds.
    until(lambda: {service.state for service in admin.compute.services()} == {"up"})
    until(lambda: {service.state for service in admin.block_storage.services()} == {"up"})
    assert {service.host for service in admin.compute.services(binary="nova-compute")} == set(HOSTS)


def test_a_user_sees_the_catalogue_and_no_administration(demo: Connection) -> None:
    assert {"image", "network", "compute", "placement", "volumev3"} <= {entry["type"] for entry in demo.service_catalog}
    assert not list(demo.compute.servers(all_projects=False, name="nobody"))
    assert demo.compute.get("/os-services").status_code == 403


# Servers


def test_a_server_boots_and_is_what_was_asked_for(servers: Servers) -> None:
    until(lambda: servers.keys.ssh(servers.near_address, "true").returncode == 0)
    says = servers.keys.says
    assert says(servers.near_address, "hostname") == "test-near"
    assert says(servers.near_address, "cat /etc/proof") == "user data was read"
    assert servers.near_address in says(servers.near_address, "ip -brief address show eth0")
    assert says(servers.near_address, "sudo id -u") == "0"


def test_it_shows_the_host_key_that_was_handed_over_and_no_other(servers: Servers, tmp_path: Path) -> None:
    until(lambda: servers.keys.ssh(servers.near_address, "true").returncode == 0)
    known = tmp_path / "known_hosts"
    known.write_text(f"* {' '.join(Keys.new(tmp_path).host_public.split()[:2])}\n")
    refused = servers.keys.ssh(servers.near_address, "true", "-o", f"UserKnownHostsFile={known}")
    assert "Host key verification failed" in refused.stderr


def test_a_floating_ip_leads_to_a_server_behind_a_router(servers: Servers) -> None:
    until(lambda: servers.keys.ssh(servers.floating_address, "true").returncode == 0)
    assert servers.keys.says(servers.floating_address, "hostname") == "test-far"
    assert "192.168.90." in servers.keys.says(servers.floating_address, "ip -brief address show eth0")


def test_a_server_that_is_off_comes_back_with_its_files(demo: Connection, servers: Servers) -> None:
    until(lambda: servers.keys.ssh(servers.near_address, "echo kept > data && sync").returncode == 0)
    demo.compute.stop_server(servers.near)
    demo.compute.wait_for_server(servers.near, status="SHUTOFF", interval=1, wait=120)
    assert not opens(servers.near_address, 22)
    demo.compute.start_server(servers.near)
    until(lambda: servers.keys.ssh(servers.near_address, "cat data").stdout == "kept\n")


def test_a_security_group_lets_through_what_it_says_and_nothing_else(demo: Connection, servers: Servers) -> None:
    until(lambda: servers.keys.ssh(servers.near_address, "true").returncode == 0)
    servers.keys.says(servers.near_address, "sudo systemd-run --unit=web python3 -m http.server 8080")
    until(lambda: servers.keys.ssh(servers.near_address, "ss -Hltn sport = 8080 | grep -q 8080").returncode == 0)
    assert not opens(servers.near_address, 8080)
    rule = _allow(demo, servers.group, 8080)
    until(lambda: opens(servers.near_address, 8080))
    demo.network.delete_security_group_rule(rule)
    until(lambda: not opens(servers.near_address, 8080))


def test_no_packet_of_a_server_leaves_this_computer(servers: Servers) -> None:
    for there in (servers.near_address, servers.floating_address):
        until(lambda there=there: servers.keys.ssh(there, "true").returncode == 0)
        refused = servers.keys.ssh(there, "timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'")
        assert refused.returncode != 0


def test_a_volume_is_a_disk_of_the_server_until_it_is_detached(demo: Connection, servers: Servers) -> None:
    until(lambda: servers.keys.ssh(servers.near_address, "true").returncode == 0)
    volumes = apis.block_storage(demo)
    volume = volumes.create_volume(name="test", size=1)
    volumes.wait_for_status(volume, "available", interval=1, wait=60)
    attached = demo.compute.create_volume_attachment(servers.near, volume_id=volume.id)
    volumes.wait_for_status(volume, "in-use", interval=1, wait=60)
    try:
        says = servers.keys.says
        assert says(servers.near_address, f"sudo blockdev --getsize64 {attached.device}") == str(1 << 30)
        says(servers.near_address, f"sudo mkfs.ext4 -q {attached.device}")
        says(servers.near_address, f"sudo mount {attached.device} /mnt && sudo umount /mnt")
    finally:
        demo.compute.delete_volume_attachment(servers.near, volume)
        volumes.wait_for_status(volume, "available", interval=1, wait=60)
    assert servers.keys.ssh(servers.near_address, f"test -e {attached.device}").returncode == 1
    volumes.delete_volume(volume)
    volumes.wait_for_delete(volume, interval=1, wait=60)
    assert list(names.VOLUMES.iterdir()) == []


# Many


def test_many_servers_are_only_said_to_be_there(demo: Connection) -> None:
    demo.compute.create_server(
        name="many",
        image_id=apis.image(demo).find_image(IMAGE, ignore_missing=False).id,
        flavor_id=demo.compute.find_flavor("fake", ignore_missing=False).id,
        networks="none",
        min_count=_MANY,
        max_count=_MANY,
    )
    made = list(demo.compute.servers(name="many", details=False))
    try:
        assert len(made) == _MANY
        until(lambda: len(list(demo.compute.servers(name="many", details=False, status="ACTIVE"))) == _MANY)
        assert not list(names.SERVERS.glob("fake-*"))
    finally:
        for server in made:
            demo.compute.delete_server(server)
        until(lambda: not list(demo.compute.servers(name="many", details=False)))


def test_servers_of_a_group_are_kept_apart_and_one_too_many_is_refused(demo: Connection) -> None:
    group = demo.compute.create_server_group(name="apart", policy="anti-affinity")
    hosts = sum(host["kind"] == "fake" for host in HOSTS.values())
    made = [
        demo.compute.create_server(
            name=f"apart-{number}",
            image_id=apis.image(demo).find_image(IMAGE, ignore_missing=False).id,
            flavor_id=demo.compute.find_flavor("fake", ignore_missing=False).id,
            networks="none",
            scheduler_hints={"group": group.id},
        )
        for number in range(hosts + 1)
    ]
    try:
        until(lambda: not any(server.status == "BUILD" for server in demo.compute.servers(name="apart")))
        ended = sorted(server.status for server in demo.compute.servers(name="apart"))
        assert ended == ["ACTIVE"] * hosts + ["ERROR"]
    finally:
        for server in made:
            demo.compute.delete_server(server)
            demo.compute.wait_for_delete(server, wait=60)
        demo.compute.delete_server_group(group)


# What it leaves


def test_a_deleted_server_leaves_nothing_on_this_computer(demo: Connection, tmp_path: Path) -> None:
    keys = Keys.new(tmp_path)
    before = network.namespaces()
    made = ask_for(demo, "brief", demo.network.find_network("prov", ignore_missing=False).id, keys, [])
    demo.compute.wait_for_server(made, interval=1, wait=120)
    assert network.namespaces() == sorted([*before, names.server(made.id)])
    demo.compute.delete_server(made)
    demo.compute.wait_for_delete(made, interval=1, wait=120)
    assert network.namespaces() == before
    assert not list(names.SERVERS.glob(f"*/{made.id}"))
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{names.server(made.id)}"))

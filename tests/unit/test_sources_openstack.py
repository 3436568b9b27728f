"""Machines from OpenStack: what is asked of the cloud, what is let in, and what is kept secret."""

import json
import socket
from ipaddress import IPv4Network
from typing import Any

import pytest
import yaml

from components.clouds import openstack_servers
from components.clouds.answering import wait_for_ssh
from components.clouds.openstack_network import Rule, rules
from components.clouds.openstack_servers import user_data
from components.config import ServiceConfig
from components.errors import CygnetError
from components.service import openings
from components.sources import ssh
from components.sources.source import Opening
from tests.unit import program

MACHINES: dict[str, Any] = {
    "source": "openstack",
    "groups": {
        "control_plane": {"count": 3, "flavor": "medium", "availability_zone": "east"},
        "worker": {"count": 2, "flavor": "large"},
    },
    "openstack": {
        "cloud": "laboratory",
        "network": "campus",
        "image": "debian-12",
        "admin_networks": ["192.0.2.0/24", "198.51.100.7/32"],
    },
}
GATEWAY = {"https_port": 8443, "http_port": 8080, "allowed_networks": ["203.0.113.0/24"]}


@pytest.fixture(scope="module")
def engine() -> program.Engine:
    return program.run("lab", {"cygnet:machines": MACHINES, "cygnet:gateway": GATEWAY})


def test_each_machine_is_a_server_of_its_groups_flavor_on_the_network(engine: program.Engine) -> None:
    assert {
        one.name: (one.inputs["name"], one.inputs["flavorName"], one.inputs.get("availabilityZone"))
        for one in engine.of("Instance")
    } == {
        "control-plane-1": ("cygnet-lab-control-plane-1", "medium", "east"),
        "control-plane-2": ("cygnet-lab-control-plane-2", "medium", "east"),
        "control-plane-3": ("cygnet-lab-control-plane-3", "medium", "east"),
        "worker-1": ("cygnet-lab-worker-1", "large", None),
        "worker-2": ("cygnet-lab-worker-2", "large", None),
    }
    for one in engine.of("Instance"):
        assert one.inputs["imageId"] == "debian-12-id"
        shares = one.name.startswith("control-plane")
        assert one.inputs["networks"] == [{"port": f"{one.name}-id"} if shares else {"name": "campus"}]
        assert one.inputs["metadata"] == {"cygnet_stack": "lab"}
        assert one.inputs["keyPair"] == "cygnet-lab"


def test_control_planes_are_kept_apart_and_workers_where_there_is_room(engine: program.Engine) -> None:
    assert {one.name: one.inputs["policies"] for one in engine.of("ServerGroup")} == {
        "control-plane": "anti-affinity",
        "worker": "soft-anti-affinity",
    }
    hints = {one.name: one.inputs["schedulerHints"] for one in engine.of("Instance")}
    assert hints["control-plane-2"] == [{"group": "control-plane-id"}]
    assert hints["worker-1"] == [{"group": "worker-id"}]


def test_everything_is_made_in_the_cloud_that_was_named(engine: program.Engine) -> None:
    (cloud,) = engine.of("openstack")
    assert cloud.inputs["cloud"] == "laboratory"
    ours = [one for one in engine.asked if one.type.startswith("openstack:")]
    assert len(ours) > 10
    assert {one.provider for one in ours} == {f"{cloud.urn}::cloud-id"}


def test_users_reach_the_gateway_and_administrators_what_they_run(engine: program.Engine) -> None:
    asked = [one.inputs for one in engine.of("SecGroupRule")]
    let_in = {
        (one["securityGroupId"], one.get("portRangeMin"), one.get("remoteIpPrefix") or one["remoteGroupId"])
        for one in asked
    }
    admins, users = ("192.0.2.0/24", "198.51.100.7/32"), "203.0.113.0/24"
    assert let_in == {
        ("machines-id", None, "machines-id"),
        *(("machines-id", 22, admin) for admin in admins),
        *(("control-plane-id", 6443, admin) for admin in admins),
        *(("gateway-id", 5000, admin) for admin in admins),
        *(("gateway-id", port, users) for port in (8443, 8080, 9443)),
    }
    ports = {one.name: one.inputs["securityGroupIds"] for one in engine.of("Port") if one.name != "entry"}
    assert set(ports) == {"control-plane-1", "control-plane-2", "control-plane-3"}
    # The address that users type may lead to each of them.
    assert {tuple(groups) for groups in ports.values()} == {("machines-id", "control-plane-id", "gateway-id")}
    assert engine.one("Instance", "worker-1").inputs["securityGroups"] == ["cygnet-lab"]
    assert all(one.inputs["tags"] == ["cygnet-lab"] for one in engine.of("SecGroup"))
    assert {one["direction"] for one in asked} == {"ingress"}
    assert all(one.get("portRangeMin") == one.get("portRangeMax") for one in asked)


def test_rules_go_with_their_group_and_not_one_by_one(engine: program.Engine) -> None:
    groups = {f"{one.name}-id": one.urn for one in engine.of("SecGroup")}
    for one in engine.of("SecGroupRule"):
        assert one.deleted_with == groups[one.inputs["securityGroupId"]], one.name


def test_a_service_for_everyone_opens_its_own_ports_only() -> None:
    config = ServiceConfig.model_validate(
        {"login": {"enabled": True, "port": 2022, "allowed_networks": ["203.0.113.0/24"]}}
    )
    found = every_rule(rules([IPv4Network("192.0.2.0/24")], openings(config), behind_router=False))
    everywhere = [rule.port or 0 for rule in found if rule.network == IPv4Network("0.0.0.0/0")]
    assert sorted(everywhere) == [80, 443, 9443]
    assert [str(rule.network) for rule in found if rule.port == 2022] == ["203.0.113.0/24"]


@pytest.mark.parametrize("behind_router", [False, True])
def test_only_members_may_do_everything_to_each_other(behind_router: bool) -> None:
    users = Opening((443,), (IPv4Network("203.0.113.0/24"),))
    found = every_rule(rules([IPv4Network("192.0.2.0/24")], [users], behind_router=behind_router))
    assert [rule for rule in found if rule.port is None] == [Rule("members")]
    assert [rule for rule in found if rule.network is None] == [Rule("members")]


def test_behind_a_router_only_the_first_server_takes_ssh_from_outside() -> None:
    found = rules([IPv4Network("192.0.2.0/24")], [], behind_router=True)
    assert [group for group, listed in found.items() if any(rule.port == 22 for rule in listed)] == ["gateway"]


def every_rule(found: dict[str, list[Rule]]) -> list[Rule]:
    return [rule for listed in found.values() for rule in listed]


def test_hosts_have_the_addresses_of_the_cloud_and_host_keys_of_ours(engine: program.Engine) -> None:
    outputs, _secret = engine.stack_outputs()
    keys = {one.name: one for one in engine.of("Instance")}
    assert [host["name"] for host in outputs["inventory"]][:2] == ["control-plane-1", "control-plane-2"]
    for host in outputs["inventory"]:
        assert host["address"].startswith("198.51.100.")
        assert host["variables"] == {"machines_instance": f"{host['name']}-id"}
        given = yaml.safe_load(keys[host["name"]].inputs["userData"])
        assert given["hostname"] == host["name"]
        assert given["ssh_keys"]["ed25519_public"].startswith(host["host_key"])
    assert len({host["host_key"] for host in outputs["inventory"]}) == 5


def test_private_host_keys_are_secret(engine: program.Engine) -> None:
    for one in engine.of("Instance"):
        assert "userData" in one.secret_inputs
        plain = {key: value for key, value in one.inputs.items() if key not in one.secret_inputs}
        assert "PRIVATE KEY" not in json.dumps(plain)


def test_control_planes_share_an_address_that_no_server_is_plugged_in_at(engine: program.Engine) -> None:
    entry = engine.one("Port", "entry")
    assert (entry.inputs["name"], entry.inputs["networkId"], entry.inputs["noSecurityGroups"]) == (
        "cygnet-lab-entry", "campus-id", True,
    )  # fmt: skip
    address = engine.stack_outputs()[0]["parts"]["cluster"]["address"]
    assert engine.stack_outputs()[0]["url"] == f"https://{address}:8443"
    for one in engine.of("Port"):
        pairs = [] if one.name == "entry" else [{"ipAddress": address}]
        assert one.inputs.get("allowedAddressPairs", []) == pairs, one.name
    assert entry.urn in {one.deleted_with for one in engine.of("Member")}, "the cluster outlives its first server"


def test_the_shared_address_may_be_chosen() -> None:
    chosen = {"cygnet:machines": MACHINES, "cygnet:cluster": {"api_address": "192.0.2.9"}}
    entry = program.run("lab", chosen, engine=program.Engine()).one("Port", "entry")
    assert entry.inputs["fixedIps"] == [{"subnetId": "campus-id-id", "ipAddress": "192.0.2.9"}]


def test_one_control_plane_shares_nothing_and_the_cluster_goes_with_it() -> None:
    one = {"control_plane": {"flavor": "medium"}, "worker": {"count": 1, "flavor": "large"}}
    engine = program.run("lab", {"cygnet:machines": {**MACHINES, "groups": one}})
    assert engine.of("Port") == []
    first = engine.one("Instance", "control-plane-1")
    assert first.urn in {one.deleted_with for one in engine.asked}
    assert first.inputs["securityGroups"] == ["cygnet-lab", "cygnet-lab-control-plane", "cygnet-lab-gateway"]


def test_a_preview_knows_all_of_it_without_a_cloud() -> None:
    config = {"cygnet:machines": MACHINES}
    preview = program.run("lab", config, engine=program.Engine(preview=True))
    assert len(preview.of("Instance")) == 5


# A network of the stack's own

FLOATING = {"control-plane-1": "203.0.113.5", "entry": "203.0.113.6"}


@pytest.fixture(scope="module")
def behind_router() -> program.Engine:
    own = {"external": "public", "subnet": "10.20.0.0/24", "dns_servers": ["192.0.2.53"]}
    place = {key: value for key, value in MACHINES["openstack"].items() if key != "network"} | {"own_network": own}
    return program.run("lab", {"cygnet:machines": {**MACHINES, "openstack": place}})


def test_an_own_network_has_a_router_and_a_port_for_each_server(behind_router: program.Engine) -> None:
    assert behind_router.one("Router", "own").inputs["externalNetworkId"] == "public-id"
    assert behind_router.one("Subnet", "own").inputs["cidr"] == "10.20.0.0/24"
    assert behind_router.one("Subnet", "own").inputs["dnsNameservers"] == ["192.0.2.53"]
    ports = {one.name: one.inputs for one in behind_router.of("Port")}
    for server in behind_router.of("Instance"):
        assert server.inputs["networks"] == [{"port": f"{server.name}-id"}]
        assert "securityGroups" not in server.inputs
        assert ports[server.name]["name"] == server.inputs["name"]
    assert ports["control-plane-1"]["securityGroupIds"] == ["machines-id", "control-plane-id", "gateway-id"]
    assert ports["worker-1"]["securityGroupIds"] == ["machines-id"]
    tagged = [one for kind in ("Network", "Subnet", "Router", "Port", "FloatingIp") for one in behind_router.of(kind)]
    assert {tuple(one.inputs["tags"]) for one in tagged} == {("cygnet-lab",)}


def test_one_floating_ip_is_the_way_to_all_of_it_and_another_one_is_the_services(behind_router: program.Engine) -> None:
    floating = behind_router.one("FloatingIp", "control-plane-1")
    assert floating.inputs["portId"] == "control-plane-1-id"
    assert behind_router.one("FloatingIp", "entry").inputs["portId"] == "entry-id"
    assert len(behind_router.of("FloatingIp")) == 2
    assert behind_router.one("RouterInterface", "own").urn in floating.depends_on
    inventory = behind_router.stack_outputs()[0]["inventory"]
    first, *others = inventory
    assert first["public_address"] == FLOATING["control-plane-1"]
    assert all("public_address" not in host for host in others)
    way = {"address": FLOATING["control-plane-1"], "user": "debian", "port": 22, "host_key": first["host_key"]}
    assert [host["via"] for host in inventory] == [way] * 5
    assert all(host["address"].startswith("198.51.100.") for host in inventory)


def test_the_outside_is_told_the_floating_ip_and_machines_their_own_addresses(behind_router: program.Engine) -> None:
    outputs, _secret = behind_router.stack_outputs()
    assert outputs["url"] == f"https://{FLOATING['entry']}"
    inner, shared = outputs["inventory"][0]["address"], outputs["parts"]["cluster"]["address"]
    assert inner != shared
    assert outputs["parts"]["registry"]["address"] == f"{inner}:5000"
    assert {one.inputs["pushed_to"] for one in behind_router.of("Image")} == {
        f"{FLOATING['control-plane-1']}:5000/cygnet"
    }
    plays = {one.inputs["playbook"]: one.inputs["variables"] for one in behind_router.of("Playbook")}
    assert plays["cluster.yml"]["cluster_public_address"] == FLOATING["entry"]
    assert plays["health.yml"]["health_api"] == f"{shared}:6443"


def test_the_key_that_opens_the_way_is_secret(behind_router: program.Engine) -> None:
    for one in behind_router.of("AnsweringServer"):
        assert "private_key" in one.secret_inputs
        assert "PRIVATE KEY" in one.inputs["private_key"]


# Groups


GROUPS: dict[str, Any] = {
    "control_plane": {"flavor": "medium"},
    "worker": {"count": 1, "flavor": "large", "image": "debian-13"},
    "gpu-t4": {
        "count": 2,
        "flavor": "t4",
        "volume_gib": 40,
        "volume_type": "ssd",
        "gpu": {"model": "t4", "count": 2},
        "labels": {"example.org/rack": "b7"},
        "taints": [{"key": "example.org/owner", "value": "physics"}],
    },
}
FLAVORS = {"t4": {"cores": 4, "memory_gib": 16, "extra_specs": {"resources:CUSTOM_GPU_T4": "2"}}}
VOLUMES = {"homes": {"size_gib": 100, "machine": "control-plane-1", "folder": "/srv/homes"}}


@pytest.fixture(scope="module")
def grouped() -> program.Engine:
    place = {**MACHINES["openstack"], "flavors": FLAVORS, "volumes": VOLUMES}
    return program.run("lab", {"cygnet:machines": {**MACHINES, "groups": GROUPS, "openstack": place}})


def test_a_further_group_is_of_workers_that_are_called_after_it(grouped: program.Engine) -> None:
    inventory = grouped.stack_outputs()[0]["inventory"]
    assert [(host["name"], host["group"]) for host in inventory] == [
        ("control-plane-1", "control_plane"),
        ("worker-1", "worker"),
        ("gpu-t4-1", "worker"),
        ("gpu-t4-2", "worker"),
    ]
    assert grouped.one("ServerGroup", "gpu-t4").inputs["name"] == "cygnet-lab-gpu-t4"


def test_each_group_has_its_image_and_flavor_and_what_it_boots_from(grouped: program.Engine) -> None:
    worker, gpu = (grouped.one("Instance", name).inputs for name in ("worker-1", "gpu-t4-2"))
    assert (worker["imageId"], "blockDevices" in worker) == ("debian-13-id", False)
    assert "imageId" not in gpu
    (root,) = gpu["blockDevices"]
    assert (root["uuid"], root["volumeSize"], root["volumeType"]) == ("debian-12-id", 40, "ssd")
    assert (root["bootIndex"], root["deleteOnTermination"]) == (0, True)


def test_a_flavor_of_the_stacks_own_is_made_with_what_it_asks_for(grouped: program.Engine) -> None:
    made = grouped.one("Flavor", "t4").inputs
    assert (made["name"], made["vcpus"], made["ram"]) == ("cygnet-lab-t4", 4, 16384)
    assert made["extraSpecs"] == {"resources:CUSTOM_GPU_T4": "2"}
    assert made["isPublic"] is False
    gpu = grouped.one("Instance", "gpu-t4-1").inputs
    assert (gpu["flavorId"], "flavorName" in gpu) == ("t4-id", False)
    assert grouped.one("Instance", "worker-1").inputs["flavorName"] == "large"


def test_the_cluster_is_told_what_a_group_is(grouped: program.Engine) -> None:
    gpu, worker = (grouped.one("Member", name).inputs for name in ("gpu-t4-1", "worker-1"))
    assert gpu["labels"] == {
        "cygnet.io/group": "gpu-t4",
        "cygnet.io/gpu": "t4",
        "cygnet.io/gpu-count": "2",
        "example.org/rack": "b7",
    }
    assert gpu["taints"] == ["nvidia.com/gpu=present:NoSchedule", "example.org/owner=physics:NoSchedule"]
    assert (worker["labels"], worker["taints"]) == ({"cygnet.io/group": "worker"}, [])


def test_a_member_goes_when_its_server_is_made_anew(grouped: program.Engine) -> None:
    assert grouped.one("Member", "gpu-t4-1").inputs["machine"] == "gpu-t4-1-id"


def test_a_volume_for_data_is_at_its_machine_and_protected(grouped: program.Engine) -> None:
    volume = grouped.one("Volume", "homes")
    assert (volume.inputs["name"], volume.inputs["size"]) == ("cygnet-lab-homes", 100)
    assert volume.inputs["metadata"] == {"cygnet_stack": "lab"}
    assert volume.protect
    assert grouped.one("VolumeAttach", "homes").inputs["instanceId"] == "control-plane-1-id"
    first, *others = grouped.stack_outputs()[0]["inventory"]
    assert first["variables"]["machines_volumes"] == [
        {"volume": "homes-id", "device": "/dev/vdb", "folder": "/srv/homes", "file_system": "ext4"}
    ]
    assert all("machines_volumes" not in host["variables"] for host in others)


# A server stays what it was made of


def test_a_server_that_runs_is_not_replaced_because_a_word_changed(engine: program.Engine) -> None:
    for one in engine.of("Instance"):
        assert one.ignored == {"imageId", "blockDevices", "flavorId", "flavorName", "availabilityZone"}


def test_a_server_that_is_named_is_made_anew_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(openstack_servers.RENEW, "worker-1")
    asked = program.run("lab", {"cygnet:machines": MACHINES}, engine=program.Engine(preview=True))
    assert {one.name for one in asked.of("Instance") if not one.ignored} == {"worker-1"}


# What servers are told


def test_user_data_is_what_cloud_init_takes() -> None:
    text = user_data("worker-1", "a private\nkey\n", "ssh-ed25519 AAAA worker-1")
    assert text.startswith("#cloud-config\n")
    assert yaml.safe_load(text) == {
        "hostname": "worker-1",
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": "a private\nkey\n", "ed25519_public": "ssh-ed25519 AAAA worker-1"},
    }


def test_a_server_that_the_cloud_could_not_make_is_not_waited_for() -> None:
    with pytest.raises(CygnetError, match=r"cygnet-lab-gpu-1 has no address: .*openstack server show cygnet-lab-gpu-1"):
        wait_for_ssh("cygnet-lab-gpu-1", "")


def test_a_server_that_does_not_answer_is_named_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setattr(ssh, "PORT", closed.getsockname()[1])
        with pytest.raises(CygnetError) as caught:
            wait_for_ssh("cygnet-lab-worker-1", "127.0.0.1", seconds=0)
    for said in ("cygnet-lab-worker-1", "127.0.0.1", "admin_networks", "openstack console log show", "pulumi up"):
        assert said in str(caught.value)

"""Machines from OpenStack on a network that is there: up in the test cloud, reached, kept, made anew, and gone."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from components.clouds.openstack_servers import RENEW
from tests.testcloud import names
from tests.testcloud.preparation import IMAGE
from tests.testcloud.program_of import Program
from tests.testcloud.server import until

STACK = "machines"
GPUS = "CUSTOM_GPU_T4"
"""The class of resources of which one hypervisor has one."""

VOLUME_GIB = 4
"""Of the volume that the worker boots from."""

SERVERS = ("control-plane-1", "worker-1", "gpu-t4-1")
CONFIG: dict[str, Any] = {
    "source": "openstack",
    "groups": {
        "control_plane": {"count": 1, "flavor": "tiny"},
        "worker": {"count": 1, "flavor": "tiny", "availability_zone": "nova", "volume_gib": VOLUME_GIB},
        "gpu-t4": {"count": 1, "flavor": "t4", "gpu": {"model": "t4", "driver": "none"}},
    },
    "openstack": {
        "cloud": "admin",
        "network": "prov",
        "image": IMAGE,
        "admin_networks": [f"{names.gateway(names.FLAT_NETWORKS['prov'])}/32"],
        "flavors": {
            "t4": {
                "cores": 1,
                "memory_gib": 0.25,
                "disk_gib": 10,
                "extra_specs": {"trait:CUSTOM_NSPAWN": "required", f"resources:{GPUS}": "1"},
            }
        },
        "volumes": {"homes": {"size_gib": 1, "machine": "control-plane-1", "folder": "/srv/homes", "protect": False}},
    },
}


@pytest.fixture(scope="module")
def program(testcloud: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:  # noqa: ARG001
    made = Program.new(tmp_path_factory.mktemp("program"), STACK, CONFIG)
    try:
        started = time.monotonic()
        made.up()
        print(f"machines: up after {time.monotonic() - started:.0f} s")
        yield made
    finally:
        made.destroy()


def test_the_servers_are_there_by_group_and_number(program: Program, admin: Connection) -> None:
    found = list(admin.compute.servers(name=f"cygnet-{STACK}"))
    assert {server.name for server in found} == {f"cygnet-{STACK}-{name}" for name in SERVERS}
    assert {server.metadata["cygnet_stack"] for server in found} == {STACK}
    hosts = program.outputs()["inventory"]
    assert [(host["name"], host["group"], host["user"]) for host in hosts] == [
        ("control-plane-1", "control_plane", "debian"),
        ("worker-1", "worker", "debian"),
        ("gpu-t4-1", "worker", "debian"),
    ]
    assert {host["variables"]["machines_instance"] for host in hosts} == {server.id for server in found}


def test_ansible_reaches_each_by_the_host_key_that_is_known(program: Program, tmp_path: Path) -> None:
    said = program.ansible(tmp_path, "hostname")
    for name in SERVERS:
        assert f"{name} | CHANGED | rc=0 >>\n{name}\n" in said


def test_only_what_has_to_be_open_is_open(program: Program, admin: Connection) -> None:  # noqa: ARG001 - is up
    admins = CONFIG["openstack"]["admin_networks"][0]
    ours = {one.id: one.name for one in admin.network.security_groups(tags=[f"cygnet-{STACK}"])}
    let_in = {
        (ours[rule.security_group_id], rule.port_range_min, ours.get(rule.remote_group_id or "") or _from(rule))
        for rule in admin.network.security_group_rules(direction="ingress")
        if rule.security_group_id in ours
    }
    machines = f"cygnet-{STACK}"
    assert let_in == {
        (machines, None, machines),
        (machines, 22, admins),
        (f"{machines}-control-plane", 6443, admins),
        (f"{machines}-gateway", 5000, admins),
        (f"{machines}-gateway", 80, "0.0.0.0/0"),
        (f"{machines}-gateway", 443, "0.0.0.0/0"),
    }
    members = {one.name: {group["name"] for group in one.security_groups} for one in admin.compute.servers()}
    assert members[f"{machines}-worker-1"] == {machines}


def _from(rule: Any) -> str:
    """Neutron says of a network that is everything that there is none."""
    return str(rule.remote_ip_prefix or "0.0.0.0/0")


def test_the_volume_is_mounted(program: Program, tmp_path: Path) -> None:
    assert program.ansible(tmp_path, "cat /proc/mounts").count(" /srv/homes ext4 rw") == 1


def test_a_server_boots_from_a_volume_of_its_own(program: Program, admin: Connection, tmp_path: Path) -> None:
    said = program.ansible(tmp_path, "findmnt --noheadings --output SOURCE,FSTYPE /")
    roots = dict(re.findall(r"^(\S+) \| CHANGED \| rc=0 >>\n(.+)$", said, re.MULTILINE))
    assert re.fullmatch(r"/dev/loop\d+ +ext4", roots["worker-1"])
    assert roots["control-plane-1"].startswith("overlay")
    (worker,) = admin.compute.servers(name=f"cygnet-{STACK}-worker-1")
    (volume,) = (one for one in admin.block_storage.volumes() if one.attachments[0]["server_id"] == worker.id)
    assert (volume.size, volume.is_bootable) == (VOLUME_GIB, True)


def test_no_key_stands_in_the_state_in_plain_text(program: Program) -> None:
    state = "".join(file.read_text() for file in (program.folder / "state").rglob("*") if file.is_file())
    assert f"cygnet-{STACK}-worker-1" in state
    assert "PRIVATE KEY" not in state


def test_a_second_up_changes_nothing(program: Program) -> None:
    assert "unchanged" in program.pulumi("preview", "--expect-no-changes", "--diff")


def test_a_server_stays_what_it_was_made_of_until_it_is_made_anew(program: Program, admin: Connection) -> None:
    former = {server.name: server.id for server in admin.compute.servers(name=f"cygnet-{STACK}")}
    larger = {**CONFIG, "groups": {**CONFIG["groups"], "worker": {"count": 1, "flavor": "small"}}}
    program.configure(larger)
    program.pulumi("preview", "--expect-no-changes")
    program.environment[RENEW] = "worker-1"
    program.up()
    del program.environment[RENEW]
    latter = {server.name: server for server in admin.compute.servers(name=f"cygnet-{STACK}")}
    changed = {name for name, server in latter.items() if server.id != former[name]}
    assert changed == {f"cygnet-{STACK}-worker-1"}
    # With it went the volume that it booted from; the one for data stayed.
    until(lambda: [volume.name for volume in admin.block_storage.volumes()] == [f"cygnet-{STACK}-homes"])
    assert latter[f"cygnet-{STACK}-worker-1"].flavor["original_name"] == "small"


def test_a_gpu_that_is_not_there_is_not_given(program: Program, admin: Connection) -> None:
    more = {**CONFIG, "groups": {**CONFIG["groups"], "gpu-t4": {"count": 2, "flavor": "t4"}}}
    program.configure(more)
    refused = program.run("up", "--yes", "--skip-preview")
    assert refused.returncode != 0
    given = [one.name for one in admin.compute.servers(name=f"cygnet-{STACK}-gpu") if one.status == "ACTIVE"]
    assert given == [f"cygnet-{STACK}-gpu-t4-1"]
    program.configure(CONFIG)


def test_destroy_leaves_nothing_in_the_cloud(program: Program, admin: Connection) -> None:
    program.destroy()
    nothing_remains(admin, STACK)


def nothing_remains(cloud: Connection, stack: str) -> None:
    name, project = f"cygnet-{stack}", {"project_id": cloud.current_project_id}
    until(lambda: not list(cloud.compute.servers(name=name)))
    found = [
        *cloud.compute.keypairs(), *cloud.compute.server_groups(), *cloud.compute.flavors(is_public=None),
        *cloud.network.security_groups(**project), *cloud.network.networks(**project),
        *cloud.network.routers(**project), *cloud.network.ports(**project), *cloud.block_storage.volumes(),
    ]  # fmt: skip
    assert [one.name for one in found if (one.name or "").startswith(name)] == []
    assert [one.description for one in cloud.network.ips(**project) if one.description.startswith(name)] == []

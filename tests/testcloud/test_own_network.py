"""Machines from OpenStack on a network of the stack's own, behind a router: one floating IP is the way to all."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from tests.testcloud import names
from tests.testcloud.preparation import IMAGE
from tests.testcloud.program_of import Program
from tests.testcloud.test_machines import nothing_remains

pytestmark = pytest.mark.nightly

STACK = "own-network"
SERVERS = ("control-plane-1", "worker-1")
CONFIG: dict[str, Any] = {
    "source": "openstack",
    "groups": {"control_plane": {"flavor": "tiny"}, "worker": {"count": 1, "flavor": "tiny"}},
    "openstack": {
        "cloud": "demo",
        "own_network": {"external": "ext", "subnet": "10.20.0.0/24"},
        "image": IMAGE,
        "admin_networks": [f"{names.gateway(names.FLAT_NETWORKS['ext'])}/32"],
    },
}


@pytest.fixture(scope="module")
def program(testcloud: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:  # noqa: ARG001
    made = Program.new(tmp_path_factory.mktemp("program"), STACK, CONFIG)
    try:
        made.up()
        yield made
    finally:
        made.destroy()


def test_ansible_reaches_each_through_the_floating_ip(program: Program, tmp_path: Path) -> None:
    hosts = program.outputs()["inventory"]
    assert {host["address"].rpartition(".")[0] for host in hosts} == {"10.20.0"}
    said = program.ansible(tmp_path, "hostname")
    for name in SERVERS:
        assert f"{name} | CHANGED | rc=0 >>\n{name}\n" in said


def test_the_outside_reaches_the_first_server_alone(program: Program, demo: Connection) -> None:
    first, worker = program.outputs()["inventory"]
    (floating,) = (ip for ip in demo.network.ips() if f"cygnet-{STACK}" in ip.tags)
    assert first["public_address"] == floating.floating_ip_address
    assert "public_address" not in worker
    with socket.create_connection((first["public_address"], 22), timeout=10) as connection:
        assert connection.recv(4) == b"SSH-"


def test_all_of_the_network_is_marked_as_the_stacks(program: Program, demo: Connection) -> None:  # noqa: ARG001 - is up
    mark = {"tags": [f"cygnet-{STACK}"]}
    for found, many in (
        (demo.network.networks(**mark), 1),
        (demo.network.subnets(**mark), 1),
        (demo.network.routers(**mark), 1),
        (demo.network.ports(**mark), 2),
        (demo.network.security_groups(**mark), 3),
    ):
        assert len(list(found)) == many


def test_a_second_up_changes_nothing(program: Program) -> None:
    assert "unchanged" in program.pulumi("preview", "--expect-no-changes", "--diff")


def test_destroy_leaves_nothing_in_the_cloud(program: Program, demo: Connection) -> None:
    program.destroy()
    nothing_remains(demo, STACK)

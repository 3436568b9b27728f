"""Control planes of a cloud share an address: Neutron lets each of them have it, and keepalived moves it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from openstack.connection import Connection

from components import playbook
from tests.testcloud import names
from tests.testcloud.preparation import IMAGE
from tests.testcloud.program_of import Program
from tests.testcloud.server import until

pytestmark = pytest.mark.nightly

STACK = "shared"
OURS = f"cygnet-{STACK}"
CONFIG: dict[str, Any] = {
    "source": "openstack",
    "groups": {
        "control_plane": {"count": 3, "flavor": "tiny"},
        "worker": {"count": 1, "flavor": "tiny"},
    },
    "openstack": {
        "cloud": "demo",
        "network": "prov",
        "image": IMAGE,
        "admin_networks": [f"{names.gateway(names.FLAT_NETWORKS['prov'])}/32"],
    },
}
_KEEPALIVED: Final = [
    {"hosts": "control_plane", "become": True, "roles": [{"role": str(playbook.PLAYBOOKS / "roles/keepalived")}]}
]

_LISTEN_SECONDS: Final = 6
_PORT: Final = 47000
_LISTEN: Final = f"""
import socket
heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
heard.bind(("", {_PORT}))
print("listens", flush=True)
while True:
    print(heard.recvfrom(4096)[1][0], flush=True)
"""
_SEND: Final = """
import socket
sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent.bind(("{source}", 0))
sent.sendto(b"from there", ("{target}", {port}))
"""


@pytest.fixture(scope="module")
def program(testcloud: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:  # noqa: ARG001
    made = Program.new(tmp_path_factory.mktemp("program"), STACK, CONFIG)
    try:
        made.up()
        play = made.folder / "keepalived.yml"
        play.write_text(yaml.safe_dump(_KEEPALIVED))
        outputs = made.outputs()
        asked = {"stack": STACK, "playbook": str(play), "hosts": outputs["inventory"]}
        variables = {"keepalived_address": outputs["address"]}
        playbook.run({**asked, "private_key": outputs["private_key"], "variables": variables})
        yield made
    finally:
        made.destroy()


def test_the_address_has_a_port_without_a_server(program: Program, demo: Connection) -> None:
    (entry,) = demo.network.ports(name=f"{OURS}-entry")
    assert [fixed["ip_address"] for fixed in entry.fixed_ips] == [program.outputs()["address"]]
    assert (entry.device_id, entry.security_group_ids, entry.tags) == ("", [], [OURS])


def test_it_leads_to_another_control_plane_when_the_one_that_has_it_is_off(program: Program, demo: Connection) -> None:
    outputs = program.outputs()
    first = until(lambda: _who(outputs))
    server = demo.compute.find_server(f"{OURS}-{first}", ignore_missing=False)
    demo.compute.stop_server(server)
    try:
        second = until(lambda: {_who(outputs)} - {first, None}, seconds=60).pop()
    finally:
        demo.compute.wait_for_server(server, status="SHUTOFF", interval=1, wait=60)
        demo.compute.start_server(server)
        demo.compute.wait_for_server(server, interval=1, wait=60)
    assert _who(outputs) == second, "it does not move without need"


def test_no_other_server_can_have_it(program: Program, tmp_path: Path) -> None:
    """What is asked is whether a packet from the address arrives: an answer goes to who has it."""
    outputs = program.outputs()
    hosts = {host["name"]: host for host in outputs["inventory"]}
    program.ansible(tmp_path, "true")  # writes what ssh needs
    listener, another = (name for name in hosts if name.startswith("control-plane-") and name != _who(outputs))
    send = _SEND.format(source=outputs["address"], target=hosts[listener]["address"], port=_PORT)
    for name, passes in ((another, True), ("worker-1", False)):
        with _listening(tmp_path, hosts[listener]) as listens:
            _ssh(
                tmp_path, hosts[name],
                f"sudo ip address add {outputs['address']}/32 dev lo && python3 -c '{send}'; sent=$?; "
                f"sudo ip address del {outputs['address']}/32 dev lo; exit $sent",
            )  # fmt: skip
            heard = listens.communicate()[0].split()
        assert (outputs["address"] in heard) == passes, name


def _who(outputs: dict[str, Any]) -> str | None:
    """Who answers at the address, by its SSH host key."""
    asked = ["ssh-keyscan", "-T", "2", "-t", "ed25519", outputs["address"]]
    said = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    return next((host["name"] for host in outputs["inventory"] if host["host_key"] in said), None)


@contextmanager
def _listening(folder: Path, host: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A machine that writes who sends it something, for some seconds."""
    command = _ssh_command(folder, host, f"sudo timeout {_LISTEN_SECONDS} python3 -c '{_LISTEN}'")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listens:
        assert listens.stdout
        assert listens.stdout.readline() == "listens\n"
        yield listens


def _ssh(folder: Path, host: dict[str, Any], command: str) -> None:
    subprocess.run(_ssh_command(folder, host, command), capture_output=True, check=True)


def _ssh_command(folder: Path, host: dict[str, Any], command: str) -> list[str]:
    return ["ssh", "-F", str(folder / "ssh.conf"), f"{host['user']}@{host['address']}", command]

"""The computers that all else runs on."""

import re
import socket
import subprocess
from collections.abc import Mapping

from testinfra.host import Host

from tests.live.stack import LiveStack

SERVICES = ("containerd", "kubelet", "ssh")

OPEN_EVERYWHERE = {
    22: "SSH",
    10250: "kubelet",
    10256: "kube-proxy's health",
}
OPEN_ON_CONTROL_PLANE = {
    1094: "homes and data",
    2379: "etcd",
    2380: "etcd's peers",
    3128: "proxy of software repositories",
    5000: "registry",
    6443: "API server",
    8000: "software repository",
}
"""What may listen on a machine's own addresses. The gateway's ports are forwarded, nothing of the machine has them."""


def test_every_machine_answers_under_its_name(hosts: Mapping[str, Host]) -> None:
    assert {name: host.check_output("hostname") for name, host in hosts.items()} == {name: name for name in hosts}


def test_services_run_and_start_by_themselves(hosts: Mapping[str, Host]) -> None:
    down = [
        f"{name}: {service}"
        for name, host in hosts.items()
        for service in SERVICES
        if not (host.service(service).is_running and host.service(service).is_enabled)
    ]
    assert down == []


def test_no_unit_has_failed(hosts: Mapping[str, Host]) -> None:
    listed = "systemctl list-units --state=failed --plain --no-legend"
    assert {name: host.check_output(listed) for name, host in hosts.items()} == dict.fromkeys(hosts, "")


def test_no_machine_takes_passwords(stack: LiveStack) -> None:
    for name in stack.machines:
        command = stack.ssh(name, "-o", "PubkeyAuthentication=no")
        said = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=30, check=False).stderr
        assert re.search(r"Permission denied \(publickey\)", said), f"{name}: {said}"


def test_nothing_else_listens_on_the_machines(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    for name, host in hosts.items():
        allowed = OPEN_EVERYWHERE | (OPEN_ON_CONTROL_PLANE if name in stack.group("control_plane") else {})
        listening = {
            line.split()[3] for line in host.check_output("ss --listening --tcp --numeric --no-header").splitlines()
        }
        outside = {socket for socket in listening if not socket.startswith(("127.", "[::1]"))}
        ports = {int(socket.rpartition(":")[2]) for socket in outside}
        assert ports <= set(allowed), f"{name}: {sorted(outside)}"


def test_no_read_only_kubelet_answers(stack: LiveStack) -> None:
    for name in stack.machines:
        with socket.socket() as probe:
            probe.settimeout(3)
            assert probe.connect_ex((stack.address(name), 10255)) != 0, name


def test_all_machines_have_the_same_time(hosts: Mapping[str, Host]) -> None:
    clocks = {name: int(host.check_output("date +%s")) for name, host in hosts.items()}
    assert max(clocks.values()) - min(clocks.values()) < 30, clocks

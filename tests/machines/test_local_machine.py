"""A real local machine: up, up again, killed in every way, down, and nothing of it left on this host."""

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.local_machines import (
    base_image,
    cgroups,
    host,
    leftovers,
    links,
    names,
    network,
    nspawn,
    processes,
    records,
)
from components.local_machines.network import Network
from components.local_machines.processes import Processes
from components.local_machines.records import MachineRecord, MachineSpec
from components.secrets import new_ssh_key
from components.sources import files

SECONDS = 60.0  # of patience with a busy host; each step takes one or two
KERNEL = ("fs/inotify/max_user_instances", "fs/inotify/max_user_watches", "vm/overcommit_memory", "kernel/panic")


@dataclass
class Machine:
    """A machine, and how to get into it."""

    spec: MachineSpec
    net: Network
    folder: Path

    def ensure(self) -> MachineRecord:
        network.ensure_network(self.spec.stack)
        return nspawn.ensure_machine(self.spec, self.net, print)

    def processes(self) -> Processes:
        return processes.of(self.spec.folder)

    def ssh(self, command: str, user: str = "root", *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ssh", "-F", "none", "-i", str(self.folder / "key"), "-o", "BatchMode=yes", "-o", "ConnectTimeout=5",
             "-o", f"UserKnownHostsFile={self.folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes", *options,
             f"{user}@{self.address}", command],
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def says(self, command: str) -> str:
        done = self.ssh(command)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @property
    def address(self) -> str:
        return str(self.net.address(self.spec.name))


def new_machine(folder: Path) -> Machine:
    private, public = new_ssh_key("operator")
    host_private, host_public = new_ssh_key("machine")
    files.write(folder / "key", private, 0o600)
    stack = f"test-{secrets.token_hex(2)}"
    spec = MachineSpec(
        stack=stack,
        name="worker-1",
        memory_mib=512,
        authorized_key=public,
        host_key=host_public,
        host_private_key=host_private,
    )
    made = Machine(spec, network.ensure_network(stack), folder)
    kind, key, _comment = host_public.split()
    (folder / "known_hosts").write_text(f"{made.address} {kind} {key}\n")
    return made


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    assert host.findings({"worker-1": 512}) == [], "this host cannot carry local machines"
    made = new_machine(tmp_path_factory.mktemp("machine"))
    try:
        made.ensure()
        yield made
    finally:
        leftovers.remove_leftovers(made.spec.stack, print)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


# What it is


def test_it_is_a_whole_debian_that_one_key_opens(machine: Machine) -> None:
    until(lambda: machine.ssh("systemctl is-system-running").stdout != "starting\n")
    assert machine.says("systemctl is-system-running") == "running"
    assert machine.says("hostname") == "worker-1"
    assert machine.ssh("true", "root", "-o", "PubkeyAuthentication=no").returncode != 0
    assert machine.says("sshd -T | grep -E '^(password|kbdinteractive)authentication'").count("no") == 2


def test_it_has_names_and_keys_of_its_own(machine: Machine) -> None:
    assert machine.says("cat /etc/machine-id") == machine.ensure().instance
    assert machine.says("stat -c %a /etc/ssh/ssh_host_ed25519_key /root/.ssh/authorized_keys").split() == ["600", "600"]
    assert machine.says("ls /etc/ssh/ssh_host_*").split() == [
        "/etc/ssh/ssh_host_ed25519_key",
        "/etc/ssh/ssh_host_ed25519_key.pub",
    ]
    base = base_image.Base(machine.ensure().base).root
    assert not [*base.glob("etc/ssh/ssh_host_*"), *base.glob("root/.ssh/authorized_keys")]


def test_nothing_that_a_role_did_not_start_runs(machine: Machine) -> None:
    listening = machine.says("ss -Hltn | awk '{print $4}'").split()
    assert {address.rpartition(":")[2] for address in listening} == {"22"}


def test_containers_can_be_kept_in_it(machine: Machine) -> None:
    machine.says(
        "cd /var/lib/containerd && mkdir -p lower upper work merged && echo seen > lower/file"
        " && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
        " && grep -q seen merged/file && umount merged"
    )
    machine.says("for tree in /sys/fs/cgroup/*/; do mkdir $tree/probe && rmdir $tree/probe || exit 1; done")
    machine.says("echo 1 > /proc/sys/net/ipv4/ip_forward && test -c /dev/kmsg")


def test_the_shared_folder_is_the_hosts_and_mounts_in_it_are_seen_by_containers(machine: Machine) -> None:
    machine.says("echo here > /srv/cygnet/file")
    assert (names.stack_folder(machine.spec.stack) / "shared/file").read_text() == "here\n"
    assert machine.says("findmnt -no PROPAGATION /srv/cygnet") == "shared"


def test_no_packet_leaves_the_host(machine: Machine) -> None:
    started = time.monotonic()
    refused = machine.ssh("exec 3<>/dev/tcp/192.0.2.1/80")
    assert "unreachable" in refused.stderr
    assert time.monotonic() - started < 5, "what cannot work fails at once"
    assert f"nameserver {machine.net.host_address}" in machine.says("cat /etc/resolv.conf")
    started = time.monotonic()
    assert machine.ssh("getent hosts no-such-host.example").returncode != 0
    assert time.monotonic() - started < 10, "neither does a name that nobody knows keep anyone waiting"


def test_its_memory_is_limited_and_the_limit_changes_while_it_runs(machine: Machine) -> None:
    before = machine.processes()
    assert cgroups.memory_limit_mib(machine.spec.label) == 512
    larger = machine.spec.model_copy(update={"memory_mib": 640})
    nspawn.ensure_machine(larger, machine.net, print)
    assert cgroups.memory_limit_mib(machine.spec.label) == 640
    assert machine.processes() == before
    machine.ensure()


def test_a_second_ensure_changes_nothing(machine: Machine) -> None:
    before = (machine.processes(), records.find(machine.spec.stack, "worker-1"), machine.says("uptime -s"))
    started = time.monotonic()
    machine.ensure()
    assert time.monotonic() - started < 15
    assert (machine.processes(), records.find(machine.spec.stack, "worker-1"), machine.says("uptime -s")) == before


def test_another_key_of_the_operator_is_no_reason_to_start_it_anew(machine: Machine) -> None:
    _, public = new_ssh_key("another operator")
    before = machine.says("uptime -s")
    nspawn.ensure_machine(machine.spec.model_copy(update={"authorized_key": public}), machine.net, print)
    assert machine.says("uptime -s") == before


# What it survives


def test_a_reboot_inside_brings_it_back_with_its_data(machine: Machine) -> None:
    before = machine.processes()
    machine.says("echo kept > /root/data")
    machine.ssh("systemctl reboot")
    until(lambda: machine.processes().first not in (before.first, None))
    until(lambda: machine.ssh("true").returncode == 0)
    assert machine.says("cat /root/data") == "kept"
    assert machine.processes().supervisor == before.supervisor


def test_a_killed_supervisor_is_replaced_and_the_machine_runs_on(machine: Machine) -> None:
    before = machine.processes()
    kill(before.supervisor)
    until(lambda: machine.processes().supervisor is None)
    assert not nspawn.is_running(machine.spec.stack, "worker-1")
    machine.ensure()
    after = machine.processes()
    assert (after.nspawn, after.first) == (before.nspawn, before.first)
    assert after.well
    machine.ssh("systemctl reboot")
    until(lambda: machine.processes().first not in (before.first, None))
    until(lambda: machine.ssh("true").returncode == 0)


@pytest.mark.parametrize("victims", [("first",), ("nspawn",), ("supervisor", "nspawn"), ("supervisor", "first")])
def test_a_killed_machine_is_started_again(machine: Machine, victims: tuple[str, ...]) -> None:
    before = machine.processes()
    for victim in victims:
        kill(getattr(before, victim))
    until(lambda: machine.processes().first != before.first)
    machine.ensure()
    assert nspawn.is_running(machine.spec.stack, "worker-1")
    assert machine.says("hostname") == "worker-1"


def test_lost_links_are_made_again(machine: Machine) -> None:
    before = machine.processes()
    host.run("ip", "link", "del", names.link(machine.net.number))
    host.run("ip", "netns", "del", names.link(machine.net.number))
    assert not links.host_is_connected(machine.net.number)
    assert not nspawn.is_running(machine.spec.stack, "worker-1")
    machine.ensure()
    assert machine.says("hostname") == "worker-1"
    assert machine.processes() == before


def test_a_machine_that_cannot_start_says_why(machine: Machine) -> None:
    nspawn.power_off(machine.spec.label, print)
    broken = machine.spec.folder / "upper/usr/lib/systemd/systemd"
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("broken")
    try:
        with pytest.raises(host.HostError, match="worker-1: ended while it started") as caught:
            machine.ensure()
    finally:
        broken.unlink()
    for said in ("execv(/usr/lib/systemd/systemd", "/worker-1/console.log", "run `pulumi up` again"):
        assert said in str(caught.value)
    machine.ensure()


# What it leaves


def test_two_stacks_stand_side_by_side_and_one_goes_without_a_trace(machine: Machine, tmp_path: Path) -> None:
    alone = not [other for other in network.recorded() if other.stack != machine.spec.stack]
    other = new_machine(tmp_path)
    try:
        other.ensure()
        assert other.net.number != machine.net.number
        assert other.says("hostname") == machine.says("hostname") == "worker-1"
        assert other.ssh(f"exec 3<>/dev/tcp/{machine.address}/22").returncode != 0, "stacks do not reach each other"
        assert len(traces(other)) >= 10, "or the comparison below would show nothing"
        nspawn.remove_machine(other.spec.stack, "worker-1", print)
        assert network.remove_network(other.spec.stack)
        assert traces(other) == []
        assert leftovers.leftovers(other.spec.stack) == []
    finally:
        leftovers.remove_leftovers(other.spec.stack, print)
    assert machine.says("hostname") == "worker-1"
    assert alone or network.recorded()


def test_what_lost_its_records_is_found_and_removed(tmp_path: Path) -> None:
    other = new_machine(tmp_path)
    other.ensure()
    for record in names.stack_folder(other.spec.stack).rglob("*.json"):
        record.unlink()
    leftovers.remove_leftovers(other.spec.stack, print)
    assert traces(other) == []


def test_a_killed_run_is_completed_by_the_next(tmp_path: Path) -> None:
    other = new_machine(tmp_path)
    try:
        for tenths in (0, 1, 2, 4, 8):
            child = os.fork()
            if child == 0:
                try:
                    other.ensure()
                finally:
                    os._exit(0)
            time.sleep(tenths / 10)
            kill(child)
            os.waitpid(child, 0)
            other.ensure()
            assert other.says("hostname") == "worker-1"
            nspawn.remove_machine(other.spec.stack, "worker-1", print)
    finally:
        leftovers.remove_leftovers(other.spec.stack, print)
    assert traces(other) == []


def kill(process: int | None) -> None:
    assert process is not None
    os.kill(process, signal.SIGKILL)


def traces(machine: Machine) -> list[str]:
    """All that this host shows with the stack's name or number in it, by its own commands and not by ours."""
    number = machine.net.number
    marks = (machine.spec.stack, f"cygnet{number} ", f"cygnet{number}@", f"10.240.{number}.")
    shown = [
        *Path("/proc/self/mountinfo").read_text().splitlines(),
        *host.run("ip", "-oneline", "link", "show").splitlines(),
        *host.run("ip", "route", "show", "table", "all").splitlines(),
        *host.run("ip", "rule", "show").splitlines(),
        *host.run("ip", "netns", "list").splitlines(),
        *host.run("ps", "-eo", "args").splitlines(),
        *host.run("find", "/sys/fs/cgroup", "-maxdepth", "2", "-type", "d").splitlines(),
        *host.run("find", "/run/netns", "/run/systemd", "/var/lib/cygnet", "-maxdepth", "4").splitlines(),
    ]
    return [line for line in shown if any(mark in f"{line} " for mark in marks)]

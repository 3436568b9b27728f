"""What local machines are on this host: names, addresses, commands, files, cgroups, processes."""

import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from components.errors import CygnetError
from components.local_machines import (
    apt,
    cgroups,
    host,
    identity,
    leftovers,
    links,
    names,
    network,
    nspawn,
    processes,
    records,
    supervisor,
)
from components.local_machines.leftovers import Leftover
from components.local_machines.names import Label
from components.local_machines.network import Network
from components.local_machines.records import MachineRecord, MachineSpec
from components.sources import files

SPEC = MachineSpec(
    stack="test",
    name="worker-2",
    memory_mib=2048,
    authorized_key="ssh-ed25519 AAAA operator",
    host_key="ssh-ed25519 BBBB worker-2",
    host_private_key="private\n",
)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(names, "STATE", tmp_path)
    return tmp_path


# Names


@pytest.mark.parametrize("stack", ["local", "test", "test-ab12", "worker-1", "a"])
@pytest.mark.parametrize("machine", ["control-plane-1", "worker-12"])
def test_a_label_tells_stack_and_machine_whatever_the_stack_is_called(stack: str, machine: str) -> None:
    assert Label.parse(str(Label(stack, machine))) == Label(stack, machine)


@pytest.mark.parametrize(
    "name", ["cygnet-test", "cygnet-worker-1", "cygnet3", "docker0", "cygnet-x-worker-0", "other-x-worker-1"]
)
def test_other_names_are_nobodys_label(name: str) -> None:
    assert Label.parse(name) is None


@pytest.mark.parametrize("stack", ["", "Upper", "under_score", "dot.ted", "-x", "x-", "x" * 40])
def test_a_stack_that_cannot_name_machines_is_refused(stack: str) -> None:
    with pytest.raises(CygnetError, match="pulumi stack rename"):
        names.check_stack(stack)


def test_the_longest_names_fit() -> None:
    assert len(names.machine_name("control_plane", 9)) <= 15, "the kernel's names of interfaces"
    assert len(str(Label("x" * 39, "control-plane-9"))) <= 64, "systemd's names of machines"


def test_addresses_of_the_groups_do_not_meet() -> None:
    machines = [names.machine_name("control_plane", n) for n in range(1, 6)]
    machines += [names.machine_name("worker", n) for n in range(1, 201)]
    assert len({names.octet(machine) for machine in machines}) == len(machines)


@pytest.mark.parametrize("machine", ["worker-0", "worker-300", "blade-1", "worker"])
def test_other_machines_have_no_address(machine: str) -> None:
    with pytest.raises(ValueError, match=r"machine name|addresses"):
        names.octet(machine)


# Numbers


def test_numbers_that_the_host_uses_are_not_taken() -> None:
    addresses = [{"addr_info": [{"family": "inet", "local": "10.240.7.9"}, {"family": "inet6", "local": "fe80::1"}]}]
    routes = [
        {"dst": "default"},
        {"dst": "10.0.0.0/8"},
        {"dst": "10.240.8.0/24"},
        {"dst": "10.240.20.0/23"},
        {"dst": "fd00::/64"},
    ]
    assert network.taken_numbers(addresses, routes) == {7, 8, 20, 21}


def test_a_route_over_all_addresses_leaves_none() -> None:
    assert network.taken_numbers([], [{"dst": "10.240.0.0/16"}]) == set(names.NUMBERS)


def free_number(state: Path, monkeypatch: pytest.MonkeyPatch, taken: set[int], wanted: int | None = None) -> int:
    monkeypatch.setattr(network, "ip", lambda *_arguments: [])
    monkeypatch.setattr(network, "taken_numbers", lambda _addresses, _routes: taken)
    (state / "other").mkdir(exist_ok=True)
    (state / "other/network.json").write_text(Network(stack="other", number=2).model_dump_json())
    return network._free_number(wanted)


def test_the_lowest_free_number_is_taken(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_number(state, monkeypatch, {1}) == 3, "1 is used by the host, 2 by another stack that is not up"


def test_a_lost_number_is_taken_again_if_it_is_free(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_number(state, monkeypatch, {1}, wanted=9) == 9
    assert free_number(state, monkeypatch, {1, 9}, wanted=9) == 3


def test_a_full_host_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CygnetError, match="`ip route` shows who uses them"):
        free_number(state, monkeypatch, set(names.NUMBERS))


# The host


def test_a_failed_command_says_what_it_said() -> None:
    with pytest.raises(CygnetError, match=r"sh -c .*: no such bridge"):
        host.run("sh", "-c", "echo no such bridge >&2; exit 1")


def test_a_missing_command_is_named() -> None:
    with pytest.raises(CygnetError, match="cygnet-no-such-program is not installed"):
        host.run("cygnet-no-such-program")


def test_former_kernel_settings_are_noted_once_and_put_back_by_the_last(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = state / "kernel"
    settings = {"fs.inotify.max_user_instances": "128", "fs.inotify.max_user_watches": "2000000", "kernel.panic": "0"}
    kernel.mkdir()
    for name, former in {**settings, "kernel.random.boot_id": "first"}.items():
        (kernel / name).write_text(f"{former}\n")
    monkeypatch.setattr(host, "_sysctl_file", lambda name: kernel / name)
    monkeypatch.setattr(host, "_BRIDGE_FILTER", kernel)

    def value(name: str) -> str:
        return (kernel / name).read_text().strip()

    host.remember_and_raise()
    assert (state / "kernel.json").exists()
    assert value("fs.inotify.max_user_instances") == "8192"
    assert value("fs.inotify.max_user_watches") == "2000000", "never lowered"
    (kernel / "kernel.panic").write_text("10")  # as a kubelet does
    host.remember_and_raise()
    host.remember_and_raise("another")
    host.restore()
    assert value("fs.inotify.max_user_instances") == "8192", "another one needs it still"
    host.restore("another")
    assert {name: value(name) for name in settings} == settings
    host.restore()

    host.remember_and_raise()
    (kernel / "kernel.random.boot_id").write_text("second")
    (kernel / "kernel.panic").write_text("30")  # what the restarted host chose
    host.restore()
    assert value("kernel.panic") == "30", "what was noted before a restart says nothing about now"


# Packages

SOURCES = """Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian
Suites: trixie
Components: main

Types: deb
Enabled: no
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""


def test_only_debians_own_sources_of_the_suite_are_taken(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(SOURCES)
    (tmp_path / "sources.list.d/docker.list").write_text("deb http://docker.example bookworm stable\n")
    (tmp_path / "sources.list").write_text(
        "# deb http://old.example bookworm main\ndeb http://one.example bookworm main\n"
    )
    chosen = apt.sources_of("bookworm", tmp_path)
    assert chosen.count("URIs:") == 2
    assert "-----END PGP" in chosen
    assert "http://one.example" in chosen


def test_a_host_without_the_suite_is_told(tmp_path: Path) -> None:
    with pytest.raises(CygnetError, match=r"sources.list.d/bookworm\.sources"):
        apt.sources_of("bookworm", tmp_path)


# Files


def test_a_file_is_replaced_whole_and_private_from_the_start(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("old")
    files.write(file, "new", 0o600)
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_lock_whose_file_was_removed_is_taken_anew(tmp_path: Path) -> None:
    lock, waits, entered = tmp_path / "folder/.lock", threading.Event(), threading.Event()

    def second() -> None:
        with files.locked(lock, waiting=waits.set):
            assert lock.exists(), "it must be the file that a third one would find"
            entered.set()

    with files.locked(lock):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert not entered.is_set()
        lock.unlink()
    thread.join(10)
    assert entered.is_set()


# A machine's own files


def identity_of(spec: MachineSpec) -> identity.Contents:
    return identity.identity(spec, "c" * 32, IPv4Address("10.240.3.22"), IPv4Address("10.240.3.1"))


def test_own_files_are_written_with_their_modes(tmp_path: Path) -> None:
    base, upper = tmp_path / "base", tmp_path / "upper"
    (base / "root").mkdir(parents=True, mode=0o700)
    (base / "etc/ssh").mkdir(parents=True, mode=0o755)
    upper.mkdir()
    identity.write(identity.due(identity_of(SPEC), {}), upper, base)
    modes = {path: oct(stat.S_IMODE((upper / path).stat().st_mode)) for path in (
        "root", "root/.ssh", "root/.ssh/authorized_keys", "etc", "etc/ssh/ssh_host_ed25519_key", "etc/resolv.conf",
    )}  # fmt: skip
    assert modes == {
        "root": "0o700",
        "root/.ssh": "0o700",
        "root/.ssh/authorized_keys": "0o600",
        "etc": "0o755",
        "etc/ssh/ssh_host_ed25519_key": "0o600",
        "etc/resolv.conf": "0o644",
    }
    assert (upper / "etc/resolv.conf").read_text().count("nameserver") == 1


def test_a_file_that_the_machine_changed_stays_until_ours_changes(tmp_path: Path) -> None:
    identity.write(identity.due(identity_of(SPEC), {}), tmp_path, tmp_path)
    written = identity.digests(identity_of(SPEC))
    (tmp_path / "etc/hosts").write_text("written by a role")
    assert identity.due(identity_of(SPEC), written) == {}
    other = SPEC.model_copy(update={"host_private_key": "another"})
    identity.write(identity.due(identity_of(other), written), tmp_path, tmp_path)
    assert (tmp_path / "etc/ssh/ssh_host_ed25519_key").read_text() == "another"
    assert (tmp_path / "etc/hosts").read_text() == "written by a role"


def test_the_operators_key_is_written_once() -> None:
    other = identity_of(SPEC.model_copy(update={"authorized_key": "ssh-ed25519 CCCC"}))
    assert identity.due(other, identity.digests(identity_of(SPEC))) == {}
    assert "root/.ssh/authorized_keys" in identity.due(other, {})


def test_a_record_survives_its_file(state: Path) -> None:
    record = MachineRecord(base="0" * 12, instance="d" * 32, written={"etc/hosts": "e" * 64})
    SPEC.folder.mkdir(parents=True)
    record.save(SPEC.folder)
    assert SPEC.folder.is_relative_to(state)
    assert records.find("test", "worker-2") == record
    assert records.find("test", "worker-1") is None
    assert records.machines() == records.machines("test") == [Label("test", "worker-2")]
    assert records.machines("other") == []
    assert records.bases_in_use() == {"0" * 12}


# systemd-nspawn


def test_the_command_names_the_machine_so_that_it_is_found_again() -> None:
    command = nspawn.command(SPEC, Path("/tools"))
    assert processes._contained(command) == SPEC.folder
    assert "--machine=cygnet-test-worker-2" in command
    assert "--network-namespace-path=/run/netns/cygnet-test-worker-2" in command
    assert "--bind-ro=/tools" in command
    assert f"--bind={names.STATE}/test/shared:/srv/cygnet" in command


def test_a_console_is_shown_without_colours(tmp_path: Path) -> None:
    (tmp_path / "console.log").write_text("first\r\n\x1b[0;32m  OK  \x1b[0m Started\n\n")
    assert nspawn.console(tmp_path, 1) == "  OK   Started"
    assert nspawn.console(tmp_path / "none") == ""


def test_only_its_own_commands_are_a_machines_processes() -> None:
    folder = names.machine_folder("nobodys", "worker-2")
    assert processes._supervised(["python", "/x/supervisor.py", str(folder)]) == folder
    assert processes._supervised(["vim", str(folder / "console.log")]) is None
    assert processes._supervised(["python", "/x/supervisor.py", "/etc"]) is None
    assert processes._contained(["tail", f"--directory={folder}/root"]) is None
    assert processes.of(folder) == processes.Processes()


# The supervisor


@pytest.fixture
def supervise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs the supervisor with a shell script in place of systemd-nspawn, and without mount and cgroups."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.path.ismount", lambda _folder: True)

    def run(script: str, running: int | None = None) -> None:
        boot = {"cgroups": [], "overlay": "", "command": ["sh", "-c", script], "network": "-", "running": running}
        (tmp_path / "boot.json").write_text(json.dumps(boot))
        supervisor.supervise(tmp_path)

    return run


def starts() -> int:
    """How often the script wrote a line to `starts`."""
    return Path("starts").read_text().count("x")


def test_a_reboot_inside_starts_the_machine_again(supervise: Callable[..., None]) -> None:
    supervise(f"echo x >> starts; test $(wc -l < starts) = 3 || exit {supervisor.REBOOT}")
    assert starts() == 3


def test_a_machine_that_is_powered_off_stays_off(supervise: Callable[..., None]) -> None:
    supervise("echo x >> starts")
    assert starts() == 1


def test_a_new_supervisor_waits_for_the_machine_that_runs(supervise: Callable[..., None]) -> None:
    with subprocess.Popen(["sleep", "1"]) as machine:
        threading.Thread(target=machine.wait).start()
        supervise(f"test ! -e /proc/{machine.pid} && echo x >> starts", running=machine.pid)
    assert starts() == 1


def test_a_machine_gets_none_of_our_secrets(supervise: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "secret")
    supervise("env > environment")
    assert "secret" not in Path("environment").read_text()


# cgroups

V1 = """\
31 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
32 31 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 24 0:31 / /mnt/cgroup rw - cgroup2 cgroup2 rw
"""


def test_each_mounted_hierarchy_is_found_once() -> None:
    trees = cgroups.hierarchies(V1 + V1)
    assert [tree.path.name for tree in trees] == ["memory", "cpu,cpuacct", "systemd", "unified"]
    assert trees[1].controllers == {"cpu", "cpuacct"}
    assert [tree.unified for tree in trees] == [False, False, False, True]


def test_a_subtree_is_made_and_limited_in_each_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = [
        cgroups.Hierarchy(tmp_path / "memory", False, frozenset(["memory"])),
        cgroups.Hierarchy(tmp_path / "v2", True),
    ]
    for tree in trees:
        tree.path.mkdir()
    (tmp_path / "v2/cgroup.controllers").write_text("")
    monkeypatch.setattr(cgroups, "hierarchies", lambda: trees)
    label = SPEC.label
    for tree in trees:  # as the kernel does for a new cgroup
        (tree.path / str(label)).mkdir()
    (tmp_path / f"v2/{label}/cgroup.controllers").write_text("")
    limit = tmp_path / f"memory/{label}/memory.limit_in_bytes"
    limit.write_text("9223372036854771712")
    assert cgroups.prepare(label, 2048) == [tree.path / str(label) / "machine" for tree in trees]
    assert limit.read_text() == str(2048 << 20)
    assert cgroups.memory_limit_mib(label) == 2048
    assert cgroups.labels() == {label}
    assert cgroups.members(label) == set()


# Leftovers


@pytest.fixture
def remains(state: Path, monkeypatch: pytest.MonkeyPatch) -> list[Leftover]:
    """A host with the stack `test` (number 3, no records), `other` (number 4) and a route of nobody (number 5)."""
    said: dict[tuple[str, ...], list[dict[str, Any]]] = {
        ("link", "show"): [{"ifname": "eth0"}, {"ifname": "cygnet3", "ifalias": "cygnet-test"}, {"ifname": "cygnet4"}],
        ("rule", "show"): [{"priority": 10240, "iif": "cygnet3"}, {"priority": 0}, {"priority": 9, "iif": "cygnet3"}],
        ("route", "show", "type", "blackhole"): [
            {"dst": "10.240.3.0/24"},
            {"dst": "10.240.5.0/24"},
            {"dst": "10.0.0.0/8"},
        ],
    }
    monkeypatch.setattr(links, "ip", lambda *arguments: said[arguments])
    monkeypatch.setattr(processes, "labels", lambda: {Label("test", "worker-2")})
    monkeypatch.setattr(cgroups, "labels", lambda: {Label("test", "worker-2"), Label("test-worker-2", "worker-1")})
    monkeypatch.setattr(links, "namespaces", lambda: ["cygnet-test-worker-2", "cygnet3"])
    monkeypatch.setattr(network, "recorded", lambda: [Network(stack="other", number=4)])
    (state / "test").mkdir()
    return leftovers.leftovers()


def test_what_is_ours_is_found_by_name(remains: list[Leftover], state: Path) -> None:
    assert [(left.kind, left.name) for left in remains if left.stack == "test"] == [
        ("cgroup", "cygnet-test-worker-2"),
        ("folder", str(state / "test")),
        ("link", "cygnet3"),
        ("namespace", "cygnet-test-worker-2"),
        ("namespace", "cygnet3"),
        ("process", "cygnet-test-worker-2"),
        ("route", "10.240.3.0/24"),
        ("rule", "cygnet3"),
    ]


def test_what_is_anothers_is_told_apart(remains: list[Leftover]) -> None:
    assert {(left.name, left.stack) for left in remains if left.stack != "test"} == {
        ("cygnet-test-worker-2-worker-1", "test-worker-2"),
        ("cygnet4", "other"),
        ("10.240.5.0/24", None),
    }


@pytest.mark.usefixtures("remains")
def test_removal_takes_the_stacks_and_nobodys(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[object] = []
    monkeypatch.setattr(nspawn, "remove_machine", lambda stack, machine, _say: removed.append((stack, machine)))
    monkeypatch.setattr(links, "remove", removed.append)
    monkeypatch.setattr(network, "remove_network", removed.append)
    (state / "test/machines/worker-7").mkdir(parents=True)
    leftovers.remove_leftovers("test", print)
    assert removed == [("test", "worker-2"), ("test", "worker-7"), 5, "test"]


def test_a_host_without_leftovers_is_not_touched(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "leftovers", list)
    assert leftovers.remove_leftovers("test", print) == []
    assert list(state.iterdir()) == []


def test_the_folder_of_all_stacks_is_where_the_documentation_says() -> None:
    assert os.fspath(names.STATE) == "/var/lib/cygnet"

"""Local machines as Pulumi's resources: what is told apart, what is looked at, what is kept secret."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pytest
from pulumi.output import Unknown

from components.errors import CygnetError
from components.local_machines import base_image, identity, links, network, nspawn, records, variables
from components.local_machines.base_image import Base
from components.local_machines.network import Network
from components.local_machines.records import MachineRecord, MachineSpec
from components.local_machines.variables import Facts
from components.sources import local
from engine import cache

MACHINE: dict[str, Any] = {
    "stack": "test",
    "name": "worker-1",
    "number": 3,
    "memory_mib": 2048,
    "authorized_key": "ssh-ed25519 AAAA operator",
    "host_key": "ssh-ed25519 BBBB worker-1",
    "host_private_key": "-----BEGIN OPENSSH PRIVATE KEY-----",
    "base": "000000000000",
}
MADE = {**MACHINE, "address": "10.240.3.21", "variables": {}}
SPEC = MachineSpec.model_validate({key: MACHINE[key] for key in MachineSpec.model_fields})


@dataclass
class Reality:
    """What the providers find on the host."""

    record: MachineRecord | None = field(default_factory=lambda: MachineRecord(base="000000000000", instance="a" * 32))
    running: bool = True
    network: Network | None = field(default_factory=lambda: Network(stack="test", number=3))
    network_well: bool = True
    network_removable: bool = True
    said: list[str] = field(default_factory=list)


@pytest.fixture
def reality(monkeypatch: pytest.MonkeyPatch) -> Reality:
    found = Reality()
    monkeypatch.setattr(records, "find", lambda _stack, _name: found.record)
    monkeypatch.setattr(nspawn, "is_running", lambda _stack, _name: found.running)
    monkeypatch.setattr(network, "find", lambda _stack: found.network)
    monkeypatch.setattr(links, "host_is_connected", lambda _number: found.network_well)
    monkeypatch.setattr(network, "remove_network", lambda _stack: found.network_removable)
    monkeypatch.setattr(pulumi.log, "warn", found.said.append)
    return found


@pytest.fixture
def machine() -> local._LocalMachineProvider:
    return local._LocalMachineProvider()


@pytest.fixture
def net() -> local._LocalNetworkProvider:
    return local._LocalNetworkProvider()


# Machines


def test_a_machine_that_runs_as_it_should_is_left_alone(machine: local._LocalMachineProvider, reality: Reality) -> None:
    assert reality.running
    found = machine.diff("id", MADE, MACHINE)
    assert not found.changes
    assert not found.replaces


def test_a_machine_that_does_not_run_is_started_again(machine: local._LocalMachineProvider, reality: Reality) -> None:
    reality.running = False
    found = machine.diff("id", MADE, MACHINE)
    assert found.changes
    assert not found.replaces, "its data are there"


def test_a_machine_whose_data_are_gone_is_another_one(machine: local._LocalMachineProvider, reality: Reality) -> None:
    reality.record = None
    assert machine.diff("id", MADE, MACHINE).replaces == ["name"]
    assert machine.read("id", MADE).id == ""


@pytest.mark.parametrize("key", ["memory_mib", "host_key"])
@pytest.mark.usefixtures("reality")
def test_what_can_be_changed_in_place_is(machine: local._LocalMachineProvider, key: str) -> None:
    found = machine.diff("id", MADE, {**MACHINE, key: "other"})
    assert found.changes
    assert not found.replaces


@pytest.mark.parametrize("key", ["stack", "name", "number"])
@pytest.mark.usefixtures("reality")
def test_another_name_or_address_is_another_machine(machine: local._LocalMachineProvider, key: str) -> None:
    assert machine.diff("id", MADE, {**MACHINE, key: "other"}).replaces == [key]


@pytest.mark.usefixtures("reality")
def test_a_number_that_a_preview_cannot_know_replaces_nothing(machine: local._LocalMachineProvider) -> None:
    unknown = Unknown()
    assert not machine.diff("id", MADE, {**MACHINE, "number": unknown}).changes


def test_a_newer_base_is_told_and_not_taken(
    machine: local._LocalMachineProvider, reality: Reality, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_image, "packages", lambda: ["nftables", "runc"])
    monkeypatch.setattr(Base, "packages", property(lambda _base: frozenset(["nftables"])))
    assert not machine.diff("id", MADE, {**MACHINE, "base": "111111111111"}).changes
    assert len(reality.said) == 1
    assert "worker-1 lacks runc" in reality.said[0]
    assert "pulumi up --replace '**worker-1'" in reality.said[0]


def test_a_machine_of_a_lost_state_is_not_taken_over(machine: local._LocalMachineProvider, reality: Reality) -> None:
    net = Network(stack="test", number=3)
    contents = identity.identity(SPEC, "a" * 32, net.address("worker-1"), net.host_address)
    reality.record = MachineRecord(base="000000000000", instance="a" * 32, written=identity.digests(contents))
    assert identity.may_be(reality.record, SPEC)
    with pytest.raises(CygnetError, match="`cygnet clean test` removes it"):
        machine.create({**MACHINE, "host_key": "ssh-ed25519 CCCC worker-1"})


def test_what_is_made_tells_address_base_and_variables(
    machine: local._LocalMachineProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "find", lambda _stack, _name: None)
    monkeypatch.setattr(variables, "facts", lambda _root: Facts(16384, True, True, True))
    made = MachineRecord(base="222222222222", instance="b" * 32)
    asked: list[tuple[MachineSpec, Network]] = []

    def ensure(spec: MachineSpec, where: Network, _say: nspawn.Say) -> MachineRecord:
        asked.append((spec, where))
        return made

    monkeypatch.setattr(nspawn, "ensure_machine", ensure)
    result = machine.create(MACHINE)
    assert asked == [(SPEC, Network(stack="test", number=3))]
    assert result.id == "cygnet-test-worker-1"
    assert result.outs is not None
    assert result.outs["address"] == "10.240.3.21"
    assert result.outs["base"] == "222222222222", "the base it has, not the one that was asked for"
    assert result.outs["variables"]["machines_instance"] == "b" * 32


def test_a_private_key_is_not_shown() -> None:
    assert "PRIVATE" not in repr(SPEC)


# Networks

NET: dict[str, Any] = {"stack": "test", "memory_mib": {"worker-1": 2048}}
NET_MADE = {**NET, "number": 3, "subnet": "10.240.3.0/24"}


@pytest.mark.usefixtures("reality")
def test_a_network_that_is_well_is_left_alone(net: local._LocalNetworkProvider) -> None:
    assert not net.diff("id", NET_MADE, {**NET, "memory_mib": {}}).changes


@pytest.mark.parametrize("lost", ["record", "bridge"])
def test_a_network_is_repaired_under_its_number(
    net: local._LocalNetworkProvider, reality: Reality, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    reality.network_well = lost != "bridge"
    reality.network = None if lost == "record" else reality.network
    found = net.diff("id", NET_MADE, NET)
    assert found.changes
    assert not found.replaces
    monkeypatch.setattr(network, "ensure_network", lambda stack, wanted: Network(stack=stack, number=wanted))
    assert net.update("id", NET_MADE, NET).outs == NET_MADE


def test_a_network_with_unknown_machines_is_not_removed(net: local._LocalNetworkProvider, reality: Reality) -> None:
    reality.network_removable = False
    with pytest.raises(CygnetError, match="`cygnet clean test`"):
        net.delete("id", NET_MADE)


def test_the_preflight_reports_all_findings(net: local._LocalNetworkProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda command: None if command == "mmdebstrap" else f"/usr/bin/{command}")
    reasons = [failure.reason for failure in net.check({}, {**NET, "memory_mib": {"worker-1": 1 << 30}}).failures]
    assert len(reasons) == 3
    assert "run as root" in reasons[0]
    assert "apt-get install mmdebstrap" in reasons[1]
    assert "lower count or memory_gib" in reasons[2]


# The base


@pytest.fixture
def playbooks(tmp_path: Path) -> Path:
    for role, content in {
        "first": "first_packages: [runc, nftables]\nfirst_other: 1\n",
        "second": "second_packages:\n  - docker-registry\nfirst_packages: [of-another-role]\n",
        "third": "---\n",
    }.items():
        defaults = tmp_path / "roles" / role / "defaults"
        defaults.mkdir(parents=True)
        (defaults / "main.yml").write_text(content)
    return tmp_path


def test_the_base_has_what_roles_install(playbooks: Path) -> None:
    packages = base_image.packages(playbooks)
    assert {"runc", "nftables", "docker-registry", "openssh-server"} <= set(packages)
    assert "of-another-role" not in packages
    assert packages == sorted(set(packages))


def test_packages_that_only_ansible_could_compute_are_refused(playbooks: Path) -> None:
    (playbooks / "roles/first/defaults/main.yml").write_text('first_packages: ["{{ other }}"]\n')
    with pytest.raises(CygnetError, match="must be a plain list"):
        base_image.packages(playbooks)


def test_the_real_roles_can_be_read() -> None:
    assert "runc" in base_image.packages()


def test_the_key_follows_the_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = base_image.key(["a", "b"])
    assert key == base_image.key(["b", "a"])
    assert len(key) == cache.KEY_LENGTH
    assert key != base_image.key(["a"])
    monkeypatch.setattr(base_image, "_MASKED", ())
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/file").write_text("other")
    monkeypatch.setattr(base_image, "_FILES", tmp_path)
    assert key != base_image.key(["a", "b"])


def test_unused_bases_are_removed_and_used_ones_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    now = base_image.current()
    for name in (now.key, "used", "unused", ".making-x"):
        (tmp_path / "cygnet/machine-base" / name).mkdir(parents=True)
    assert base_image.remove_unused(["used"]) == ["unused"]
    assert base_image.remove_unused(["used"]) == []
    assert now.folder.exists()


# Variables


def test_a_host_that_lacks_nothing_gives_only_what_a_container_needs() -> None:
    given = variables.variables(2048, Facts(16384, cgroup_v2=True, sys_resource=True, nft_queue=True))
    assert set(given) == {*variables.ALWAYS, "kubernetes_system_reserved_memory_mib"}


def test_what_a_host_lacks_is_told_to_roles() -> None:
    given = variables.variables(2048, Facts(16384, cgroup_v2=False, sys_resource=False, nft_queue=False))
    assert given["kubernetes_cgroup_driver"] == "cgroupfs"
    assert given["kubernetes_oom_score_adj"] == 0
    assert given["cni_nfqueue_xt"] is True


def test_every_variable_is_one_of_a_role() -> None:
    given = variables.variables(2048, Facts(16384, cgroup_v2=False, sys_resource=False, nft_queue=False))
    specs = "".join(file.read_text() for file in base_image.PLAYBOOKS.glob("roles/*/meta/argument_specs.yml"))
    assert [name for name in given if f" {name}:" not in specs] == []

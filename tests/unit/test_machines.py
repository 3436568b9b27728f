"""The machines' configuration: what it makes, what it refuses and how it says so."""

from typing import Any, get_args

import pytest

from components import machines
from components.config import ConfigError, parse
from components.machines import MachinesConfig, wanted
from components.sources import existing
from components.sources.existing import ExistingHost
from components.sources.groups import GroupsConfig

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMjRDDYzXDplGSXwQ0dVFeDwnc1jzhvdU9EAu7l3CjQq"

CLOUD = {"network": "campus", "image": "debian-12", "admin_networks": ["192.0.2.0/24"]}
PLACE = {key: value for key, value in CLOUD.items() if key != "network"}
OWN = {"external": "public", "subnet": "10.20.0.0/24"}
VOLUME = {"size_gib": 10, "machine": "storage-1", "folder": "/srv/homes"}
FLAVORS = {"control_plane": {"flavor": "medium"}, "worker": {"flavor": "large"}}


def host(number: int, group: str = "worker", **more: Any) -> dict[str, Any]:
    return {"name": f"blade-{number}", "group": group, "address": f"192.0.2.{number}", "host_key": KEY, **more}


def refusal(document: dict[str, Any]) -> str:
    """The one finding about a document under `cygnet:machines`, after the line that counts them."""
    with pytest.raises(ConfigError) as caught:
        parse({"machines": document}, "stacks/Pulumi.x.yaml")
    head, *findings = str(caught.value).splitlines()
    assert head.endswith("1 finding, nothing was changed"), str(caught.value)
    return findings[0].strip()


def test_without_a_word_there_is_a_control_plane_and_two_workers_on_this_host() -> None:
    config = MachinesConfig()
    assert config.source == "local"
    assert [(machine.name, machine.group, machine.memory_mib) for machine in wanted(config.groups)] == [
        ("control-plane-1", "control_plane", 4096),
        ("worker-1", "worker", 6144),
        ("worker-2", "worker", 6144),
    ]


def test_a_group_that_is_left_out_keeps_its_default() -> None:
    groups = GroupsConfig.model_validate({"worker": {"count": 1}})
    assert [machine.name for machine in wanted(groups)] == ["control-plane-1", "worker-1"]
    assert groups.worker.memory_gib == 6


@pytest.mark.parametrize("count", [1, 3, 5])
def test_an_odd_control_plane_is_accepted(count: int) -> None:
    groups = GroupsConfig.model_validate({"control_plane": {"count": count}, "worker": {"count": 0}})
    assert len(wanted(groups)) == count


@pytest.mark.parametrize("count", [0, 2, 4, 7])
def test_another_control_plane_is_refused(count: int) -> None:
    finding = refusal({"groups": {"control_plane": {"count": count}}})
    assert finding.startswith("cygnet:machines.groups.control_plane.count: a control plane has 1, 3 or 5 machines")
    assert f"not {count}" in finding


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        ({"source": "openstack"}, "source openstack needs openstack: network, image and admin_networks"),
        ({"source": "openstack", "openstack": CLOUD}, "groups.control_plane needs a flavor; `openstack flavor list`"),
        (
            {"source": "openstack", "openstack": CLOUD, "groups": FLAVORS | {"worker": {"memory_gib": 4}}},
            "groups.worker.memory_gib: with source openstack the flavor says it",
        ),
        ({"source": "openstack", "openstack": CLOUD, "groups": FLAVORS, "hosts": [host(1)]}, "source existing only"),
        ({"source": "openstack", "openstack": {**CLOUD, "admin_networks": []}}, "admin_networks"),
        ({"openstack": CLOUD}, "openstack is for source openstack only"),
        ({"groups": {"worker": {"flavor": "large"}}}, "groups.worker.flavor is for source openstack only"),
        ({"groups": {"gpu": {"count": 1}}}, "groups.gpu: further groups are for source openstack only"),
        ({"source": "openstack", "openstack": CLOUD, "groups": FLAVORS | {"gpu": {}}}, "groups.gpu needs a flavor"),
        ({"source": "openstack", "openstack": CLOUD, "groups": FLAVORS | {"gpu": {"flavour": "x"}}}, "'flavor'?"),
        ({"source": "openstack", "openstack": CLOUD, "groups": FLAVORS | {"Gpu": {}}}, "a name such as gpu-t4"),
        ({"groups": {"worker": {"volume_type": "ssd"}}}, "give volume_gib too"),
        ({"groups": {"worker": {"labels": {"cygnet.io/group": "x"}}}}, "set by the service; take another"),
        ({"groups": {"worker": {"labels": {"a b": "x"}}}}, "labels"),
        ({"groups": {"worker": {"taints": [{"key": "a", "effect": "Never"}]}}}, "'NoSchedule'"),
        ({"groups": {"worker": {"gpu": {"model": "T4"}}}}, "For example t4 or v100"),
        ({"source": "openstack", "openstack": {**CLOUD, "own_network": OWN}, "groups": FLAVORS}, "either network"),
        ({"source": "openstack", "openstack": PLACE, "groups": FLAVORS}, "either network"),
        (
            {"source": "openstack", "openstack": {**PLACE, "own_network": {**OWN, "subnet": "10.20.0.0/30"}}},
            "10.20.0.0/30 has no room for servers",
        ),
        (
            {"source": "openstack", "openstack": {**CLOUD, "volumes": {"homes": VOLUME}}, "groups": FLAVORS},
            "there is no machine storage-1; there are control-plane-1, worker-1, worker-2",
        ),
        (
            {"source": "openstack", "openstack": {**CLOUD, "flavors": {"t4": {"cores": 1, "memory_gib": 0.3}}}},
            "no whole number of MiB",
        ),
        ({"source": "vagrant"}, "'local', 'existing' or 'openstack'"),
        ({"groups": {"workers": {"count": 1}}}, "did you mean 'worker'?"),
        ({"groups": {"worker": {"memory_gb": 1}}}, "did you mean 'memory_gib'?"),
        ({"groups": {"worker": {"count": -1}}}, "greater than or equal to 0"),
        ({"groups": {"worker": {"memory_gib": 0}}}, "greater than or equal to 1"),
        ({"hosts": [host(1)]}, "hosts is for source existing only"),
        ({"private_key": "x"}, "private_key is for source existing only"),
        ({"source": "existing"}, "needs hosts"),
        ({"source": "existing", "hosts": [host(1)]}, "1, 3 or 5 machines, not 0"),
        ({"source": "existing", "hosts": [host(1, "control_plane")], "groups": {}}, "groups is for machines that are"),
        ({"source": "existing", "hosts": [host(1, "control_plane"), host(2, name="blade-1")]}, "same name: blade-1"),
        (
            {"source": "existing", "hosts": [host(1, "control_plane"), host(2, address="192.0.2.1")]},
            "same address: 192.0.2.1:22",
        ),
        ({"source": "existing", "hosts": [host(1, "control_plane", host_key="AAAA")]}, "host_key"),
        ({"source": "existing", "hosts": [host(1, "control_plane", address="blade")]}, "address"),
        ({"source": "existing", "hosts": [host(1, "control_plane", name="Blade_1")]}, "name"),
        ({"source": "existing", "hosts": [host(1, "gpu")]}, "'control_plane' or 'worker'"),
        ({"source": "existing", "hosts": [host(1, "control_plane", port=0)]}, "port"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_one_message(document: dict[str, Any], finding: str) -> None:
    assert finding in refusal(document)


def test_two_hosts_behind_one_address_differ_by_port() -> None:
    config = MachinesConfig.model_validate(
        {"source": "existing", "hosts": [host(1, "control_plane"), host(2, address="192.0.2.1", port=2222)]}
    )
    assert len(config.hosts) == 2


def test_every_source_has_its_check_and_its_maker() -> None:
    accepted = set(get_args(MachinesConfig.model_fields["source"].annotation))
    assert set(machines._SOURCES) == set(machines._CHECKS) == accepted


def test_a_private_key_is_not_shown() -> None:
    config = MachinesConfig.model_validate(
        {"source": "existing", "hosts": [host(1, "control_plane")], "private_key": "very private"}
    )
    assert "very private" not in f"{config} {config!r}"


def test_an_existing_host_is_given_as_all_others_are() -> None:
    given = existing.as_host(ExistingHost.model_validate(host(7, user="debian")))
    assert given == {
        "name": "blade-7",
        "group": "worker",
        "address": "192.0.2.7",
        "user": "debian",
        "port": 22,
        "host_key": KEY,
        "variables": {},
    }

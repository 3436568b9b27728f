"""GPUs: what a stack may say of them, which machines get what, and what NVIDIA's programs are told."""

from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml

from components.config import ConfigError, ServiceConfig, parse
from components.gpu import TOOLS
from components.playbook import PLAYBOOKS, fingerprint
from components.playbook_run import inventory
from engine import recipes
from tests.unit import program
from tests.unit.test_machines import CLOUD, FLAVORS, host

ROLE = PLAYBOOKS / "roles/gpu"
T4 = {"model": "t4"}
TIME = {"model": "a10", "slices": 4}
MIG = {"model": "a100-1g", "count": 2, "slices": 7, "mig": "1g.5gb"}


def stack(gpu: dict[str, Any], **size: Any) -> dict[str, Any]:
    """A stack file with a group of machines that have GPUs, and a size of sessions."""
    group = {"count": 2, "flavor": "g1", "gpu": gpu}
    sizes = {"gpu": {"title": "G", "cores": 2, "memory_gib": 16, "gpu": size}} if size else {}
    machines = {"source": "openstack", "openstack": CLOUD, "groups": {**FLAVORS, "gpu": group}}
    return {"machines": machines, "hub": {"sizes": sizes}}


# What a stack may say


@pytest.mark.parametrize(
    ("gpu", "size"),
    [
        (T4, {"model": "t4"}),
        ({**T4, "driver": "present", "count": 2}, {"model": "t4", "count": 2}),
        ({**T4, "driver": "none"}, {"model": "t4", "count": 4, "resource": "nvidia.com/mig-1g.5gb"}),
        (TIME, {"model": "a10"}),
        (MIG, {"model": "a100-1g", "count": 3, "resource": "nvidia.com/mig-1g.5gb"}),
        ({**MIG, "mig": "1g.10gb+me"}, {"model": "a100-1g", "resource": "nvidia.com/mig-1g.10gb.me"}),
    ],
)
def test_good_words(gpu: dict[str, Any], size: dict[str, Any]) -> None:
    assert parse(stack(gpu, **size), "x").machines.gpus.keys() == {"gpu-1", "gpu-2"}


@pytest.mark.parametrize(
    ("gpu", "size", "words"),
    [
        ({**T4, "driver": "nouveau"}, {}, "'install', 'present' or 'none'"),
        ({**T4, "slices": 0}, {}, "slices"),
        ({**T4, "mig": "half", "slices": 2}, {}, "mig"),
        ({**T4, "mig": "1g.5gb"}, {}, "slices does not say into how many"),
        ({**T4, "driver": "none", "slices": 2}, {}, "with driver none others do it, and cut them"),
        (MIG, {"model": "a100-1g"}, "say resource: nvidia.com/mig-1g.5gb"),
        (T4, {"model": "t4", "resource": "nvidia.com/mig-1g.5gb"}, "machines with t4 offer nvidia.com/gpu"),
        (TIME, {"model": "a10", "count": 2}, "two slices may be of one GPU"),
        (T4, {"model": "t4", "count": 2}, "no machine with t4 has more than 1: such a session would never start"),
        (T4, {"model": "v100"}, "machines.groups has t4; add a group with gpu: {model: v100}"),
    ],
)
def test_bad_words(gpu: dict[str, Any], size: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(stack(gpu, **size), "x")
    assert words in str(caught.value)


def test_local_machines_have_no_devices_of_their_own() -> None:
    worker = {"machines": {"groups": {"worker": {"gpu": T4}}}}
    with pytest.raises(ConfigError, match="say driver: none"):
        parse(worker, "x")
    worker["machines"]["groups"]["worker"]["gpu"] = {**T4, "driver": "none"}
    assert parse(worker, "x").machines.gpus.keys() == {"worker-1", "worker-2"}


# Machines that are there


EXISTING = [host(1, "control_plane"), host(2), host(3, gpu=TIME)]


def existing(hosts: list[dict[str, Any]], **size: Any) -> ServiceConfig:
    sizes = {"gpu": {"title": "G", "cores": 2, "memory_gib": 16, "gpu": size}} if size else {}
    return parse({"machines": {"source": "existing", "hosts": hosts}, "hub": {"sizes": sizes}}, "x")


def test_a_machine_that_is_there_says_itself_what_it_has() -> None:
    assert existing(EXISTING, model="a10").machines.gpus.keys() == {"blade-3"}
    assert existing(EXISTING, model="labelled-by-hand").machines.gpus.keys() == {"blade-3"}
    with pytest.raises(ConfigError, match="two slices may be of one GPU"):
        existing(EXISTING, model="a10", count=2)
    with pytest.raises(ConfigError, match="gpu is for group worker"):
        existing([host(1, "control_plane", gpu=T4)])


def test_it_is_labelled_and_kept_for_who_asks_and_alone_gets_the_role() -> None:
    engine = program.run("site", {"cygnet:machines": {"source": "existing", "hosts": EXISTING}})
    plain, with_gpu = (engine.one("Member", f"blade-{number}").inputs for number in (2, 3))
    assert (plain["labels"], plain["taints"]) == ({"cygnet.io/group": "worker"}, [])
    assert with_gpu["labels"] == {"cygnet.io/group": "worker", "cygnet.io/gpu": "a10", "cygnet.io/gpu-count": "1"}
    assert with_gpu["taints"] == ["nvidia.com/gpu=present:NoSchedule"]
    played = engine.one("Playbook", "gpu")
    assert [one["name"] for one in played.inputs["hosts"]] == ["blade-3"]
    assert engine.stack_outputs()[0]["parts"]["gpu"] == {
        "blade-3": {"model": "a10", "driver": "install", "resource": "nvidia.com/gpu", "count": 4}
    }
    assert all("gpu" not in one for one in engine.stack_outputs()[0]["inventory"])


# What is declared


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    cloud = stack(MIG)["machines"]
    cloud["groups"]["others"] = {"count": 1, "flavor": "g2", "gpu": {"model": "v100", "driver": "none"}}
    return program.run("lab", {"cygnet:machines": cloud})


def test_the_role_is_told_of_each_machine(declared: program.Engine) -> None:
    hosts = {one["name"]: one["variables"] for one in declared.one("Playbook", "gpu").inputs["hosts"]}
    assert hosts.keys() == {"gpu-1", "gpu-2"}, "GPUs of others are left to them"
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    for given in hosts.values():
        ours = {name: value for name, value in given.items() if name.startswith("gpu_")}
        assert ours == {
            "gpu_driver": "install",
            "gpu_count": 2,
            "gpu_slices": 7,
            "gpu_mig": "1g.5gb",
            "gpu_resource": "nvidia.com/mig-1g.5gb",
        }
        assert set(ours) == {name for name, option in options.items() if option.get("required")}


def test_it_comes_after_the_members(declared: program.Engine) -> None:
    assert {one.urn for one in declared.of("Member")} <= declared.one("Playbook", "gpu").depends_on


def test_what_each_machine_offers_is_told(declared: program.Engine) -> None:
    told = declared.stack_outputs()[0]["parts"]["gpu"]
    assert {name: (one["resource"], one["count"]) for name, one in told.items()} == {
        "gpu-1": ("nvidia.com/mig-1g.5gb", 14),
        "gpu-2": ("nvidia.com/mig-1g.5gb", 14),
        "others-1": ("nvidia.com/gpu", 1),
    }


def test_a_stack_without_gpus_has_nothing_of_it(local: program.Engine) -> None:
    assert [one.name for one in local.of("Gpu")] == []
    assert "gpu.yml" not in [one.inputs["playbook"] for one in local.of("Playbook")]
    assert all(one.inputs["tools"] == [] for one in local.of("Playbook"))


def test_where_others_make_them_known_nothing_runs_on_machines() -> None:
    engine = program.run("lab", {"cygnet:machines": stack({**T4, "driver": "none"})["machines"]})
    assert "gpu" not in [one.name for one in engine.of("Playbook")]


def test_its_programs_are_built_for_who_has_gpus_and_count_for_their_play_alone() -> None:
    (tool,) = TOOLS
    assert recipes.RECIPES[tool].on_demand
    assert set(yaml.safe_load((ROLE / "defaults/main.yml").read_text())["gpu_tools"]) == set(
        recipes.RECIPES[tool].binaries
    )
    play = PLAYBOOKS / "gpu.yml"
    assert fingerprint(play, TOOLS) != fingerprint(play)


def test_the_play_is_for_machines_that_are_told_what_they_have() -> None:
    hosts = [{**host(number), "user": "root", "port": 22, "variables": {}} for number in (1, 2)]
    hosts[1]["variables"] = {"gpu_driver": "present"}
    assert inventory(hosts, "/run/key")["all"]["children"]["gpu"] == {"hosts": {"blade-2": {}}}


# What NVIDIA's programs are told


def rendered(file: str, **variables: Any) -> dict[str, Any]:
    """A template of the role, read as its reader does."""
    given = {"gpu_slices": 1, "gpu_mig": "", "gpu_resource": "nvidia.com/gpu", **variables}
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    return dict(yaml.safe_load(environment.from_string((ROLE / "templates" / file).read_text()).render(given)))


@pytest.mark.parametrize(
    ("variables", "strategy", "sharing"),
    [
        ({}, "none", None),
        ({"gpu_slices": 4.0}, "none", [{"name": "nvidia.com/gpu", "replicas": 4}]),  # as Pulumi hands numbers over
        ({"gpu_slices": 7, "gpu_mig": "1g.5gb", "gpu_resource": "nvidia.com/mig-1g.5gb"}, "mixed", None),
    ],
)
def test_the_device_plugin_offers_what_the_stack_says(
    variables: dict[str, Any], strategy: str, sharing: list[dict[str, Any]] | None
) -> None:
    told = rendered("device-plugin.yaml.j2", **variables)
    assert told["flags"]["migStrategy"] == strategy
    assert told["flags"]["plugin"]["deviceListStrategy"] == ["cdi-cri"]
    if sharing is None:
        assert "sharing" not in told
    else:
        assert told["sharing"]["timeSlicing"] == {"failRequestsGreaterThanOne": True, "resources": sharing}
        assert all(type(one["replicas"]) is int for one in told["sharing"]["timeSlicing"]["resources"])


def test_devices_cut_themselves_as_the_stack_says() -> None:
    told = rendered("mig.yaml.j2", gpu_slices=7.0, gpu_mig="1g.5gb")
    assert told["mig-configs"] == {"slices": [{"devices": "all", "mig-enabled": True, "mig-devices": {"1g.5gb": 7}}]}


@pytest.mark.parametrize("unit", sorted((ROLE / "files").glob("*.service")), ids=lambda unit: unit.name)
def test_a_unit_runs_programs_that_the_role_installs(unit: Path) -> None:
    installed = {f"/usr/local/bin/{name}" for name in recipes.RECIPES[TOOLS[0]].binaries}
    (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    assert start.removeprefix("ExecStart=").split()[0] in installed

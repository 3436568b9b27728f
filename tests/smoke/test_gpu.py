"""What the stack says of its machines' GPUs is what Kubernetes has of them, and containers get no other way to them."""

from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from components.sources.groups import GPU_TAINT
from tests.live.stack import LiveStack

Told = Mapping[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def told(stack: LiveStack) -> Told:
    """What each machine with GPUs offers."""
    gpus: Told = stack.parts["gpu"]
    if not gpus:
        pytest.skip(f"no machine of the stack '{stack.name}' has GPUs")
    return gpus


@pytest.fixture(scope="module")
def ours(stack: LiveStack, told: Told) -> Told:
    """Those whose GPUs the stack itself makes known."""
    gpus = {name: one for name, one in told.items() if one["driver"] != "none"}
    if not gpus:
        pytest.skip(f"GPUs of the stack '{stack.name}' are made known by others")
    return gpus


def test_machines_with_gpus_are_labelled_and_kept_for_who_asks(stack: LiveStack, told: Told) -> None:
    nodes = {node["metadata"]["name"]: node for node in stack.items("nodes")}
    for name, one in told.items():
        assert nodes[name]["metadata"]["labels"]["cygnet.io/gpu"] == one["model"], name
        assert GPU_TAINT in [taint["key"] for taint in nodes[name]["spec"]["taints"]], name


def test_kubernetes_has_as_many_as_the_stack_says(stack: LiveStack, ours: Told) -> None:
    nodes = {node["metadata"]["name"]: node["status"]["allocatable"] for node in stack.items("nodes")}
    assert {name: nodes[name].get(one["resource"]) for name, one in ours.items()} == {
        name: str(one["count"]) for name, one in ours.items()
    }


def test_the_device_plugin_runs_without_roots_powers(ours: Told, hosts: Mapping[str, Host]) -> None:
    for name in ours:
        unit = hosts[name].service("nvidia-device-plugin")
        assert unit.is_running, name
        assert unit.is_enabled, name
        pid = hosts[name].check_output("systemctl show nvidia-device-plugin --property=MainPID --value")
        assert "CapEff:\t0000000000000000" in hosts[name].check_output("cat /proc/%s/status", pid), name


def test_the_driver_answers(ours: Told, hosts: Mapping[str, Host]) -> None:
    for name in ours:
        assert hosts[name].run("nvidia-smi -L").rc == 0, name

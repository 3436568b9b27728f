"""Machines die, restart, come and go; users' work and homes stay."""

import os
import signal
import subprocess
from collections.abc import Callable
from copy import deepcopy

import pytest
from requests import RequestException

from components.local_machines import names, processes
from operations.stack import Stack
from tests.live.own import CONFIG, write_config
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until


def test_the_control_plane_restarts_and_sessions_go_on(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    physicist = started("physicist")
    physicist.kernel().run("answer = 42")
    (identity,) = physicist.kernels()
    booted = _boot_time(stack, "control-plane-1")

    subprocess.run([*stack.ssh("control-plane-1"), "systemctl", "reboot"], timeout=30, check=False)

    until(lambda: _boot_time(stack, "control-plane-1") != booted, "it has restarted", seconds=60, through=RuntimeError)
    until(physicist.is_ready, "the hub knows the session again", seconds=120, through=RequestException)
    until(physicist.kernels, "the session can be reached again", seconds=60, through=RequestException)
    assert physicist.kernel(identity).run("print(answer)") == "42\n"


@pytest.mark.timeout(600, func_only=True)
def test_a_dead_workers_users_start_elsewhere_and_up_brings_it_back(
    stack: LiveStack, started: Callable[[str], Visitor]
) -> None:
    """The same `up` adds the worker that goes in the next test."""
    physicist = started("physicist")
    physicist.kernel().run("open('kept.txt', 'w').write('42')")
    dead = stack.session_machine(physicist.name)

    _kill(stack, dead)
    until(lambda: not _is_ready(stack, dead), f"{dead} is seen to be dead", seconds=60)
    neighbour = started("neighbour")
    assert stack.session_machine(neighbour.name) != dead

    until(lambda: not physicist.server(), "the hub knows that the session has ended", seconds=60)
    page = physicist.http.get(f"{physicist.url}/user/{physicist.name}/lab", timeout=30)
    assert f"Your session ended: the machine on which it ran ({dead}) stopped answering" in page.text
    physicist.start()
    assert stack.session_machine(physicist.name) != dead
    assert physicist.kernel().run("print(open('kept.txt').read())") == "42\n"

    _up(stack, len(stack.group("worker")) + 1)
    until(lambda: _is_ready(stack, dead), f"{dead} is back", seconds=60)


@pytest.mark.timeout(600, func_only=True)
def test_a_worker_is_added_and_drained_before_it_goes(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    workers = stack.group("worker")
    new = f"worker-{len(workers) + 1}"
    if new not in _nodes(stack):
        _up(stack, len(workers) + 1)
    assert _is_ready(stack, new)

    with stack.closed(*workers):
        physicist = started("physicist")
    assert stack.session_machine(physicist.name) == new
    physicist.kernel().run("open('kept.txt', 'w').write('43')")

    _up(stack, len(workers))
    assert new not in _nodes(stack)
    until(lambda: not physicist.server(), "the hub knows that the session has ended", seconds=60)
    physicist.start()
    assert physicist.kernel().run("print(open('kept.txt').read())") == "43\n"


def _up(stack: LiveStack, workers: int) -> None:
    config = deepcopy(CONFIG)
    config["cygnet:machines"]["groups"]["worker"]["count"] = workers
    write_config(Stack(stack.name), config)
    Stack(stack.name).pulumi("up", "--yes", "--skip-preview")


def _nodes(stack: LiveStack) -> list[str]:
    return [node["metadata"]["name"] for node in stack.items("nodes")]


def _kill(stack: LiveStack, machine: str) -> None:
    """As if its plug was pulled: the machine's process 1 takes all others with it."""
    first = processes.of(names.machine_folder(stack.name, machine)).first
    assert first, f"{machine} does not run"
    os.kill(first, signal.SIGKILL)


def _is_ready(stack: LiveStack, machine: str) -> bool:
    (node,) = (node for node in stack.items("nodes") if node["metadata"]["name"] == machine)
    return any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"]["conditions"])


def _boot_time(stack: LiveStack, machine: str) -> str:
    """When the machine's systemd started; the kernel is the host's."""
    return str(stack.host(machine).check_output("systemctl show --property=UserspaceTimestampMonotonic"))

"""Machines die, restart, come and go; users' work and homes stay."""

import subprocess
from collections.abc import Callable
from copy import deepcopy

import pytest
from requests import RequestException

from operations.stack import Stack
from tests.live import machines
from tests.live.own import CONFIG, write_config
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until


def test_the_control_plane_restarts_and_sessions_go_on(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    physicist = started("physicist")
    physicist.kernel().run("answer = 42")
    (identity,) = physicist.kernels()
    booted = machines.boot_time(stack, "control-plane-1")

    subprocess.run([*stack.ssh("control-plane-1"), "systemctl", "reboot"], timeout=30, check=False)

    restarted = lambda: machines.boot_time(stack, "control-plane-1") != booted  # noqa: E731 - read at once
    until(restarted, "it has restarted", seconds=60, through=RuntimeError)
    until(physicist.is_ready, "the hub knows the session again", seconds=120, through=RequestException)
    until(physicist.kernels, "the session can be reached again", seconds=60, through=RequestException)
    assert physicist.kernel(identity).run("print(answer)") == "42\n"


@pytest.mark.timeout(600, func_only=True)
def test_a_dead_workers_users_start_elsewhere_and_up_brings_it_back(
    stack: LiveStack, started: Callable[[str], Visitor]
) -> None:
    physicist = started("physicist")
    physicist.kernel().run("open('kept.txt', 'w').write('42')")
    dead = stack.session_machine(physicist.name)

    machines.pull_the_plug(stack, dead)
    until(lambda: not machines.is_ready(stack, dead), f"{dead} is seen to be dead", seconds=60)
    neighbour = started("neighbour")
    assert stack.session_machine(neighbour.name) != dead

    until(lambda: not physicist.server(), "the hub knows that the session has ended", seconds=60)
    page = physicist.http.get(f"{physicist.url}/user/{physicist.name}/lab", timeout=30)
    assert f"Your session ended: the machine on which it ran ({dead}) stopped answering" in page.text
    physicist.start()
    assert stack.session_machine(physicist.name) != dead
    assert physicist.kernel().run("print(open('kept.txt').read())") == "42\n"

    machines.bring_back(stack)
    until(lambda: machines.is_ready(stack, dead), f"{dead} is back", seconds=60)


@pytest.mark.nightly
@pytest.mark.timeout(900, func_only=True)
def test_a_worker_is_added_and_drained_before_it_goes(stack: LiveStack, started: Callable[[str], Visitor]) -> None:
    workers = stack.group("worker")
    new = f"worker-{len(workers) + 1}"
    _up(stack, len(workers) + 1)
    assert machines.is_ready(stack, new)

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
    machines.bring_back(stack)


def _nodes(stack: LiveStack) -> list[str]:
    return [node["metadata"]["name"] for node in stack.items("nodes")]

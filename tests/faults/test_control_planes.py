"""One of three control planes dies, or is lost with all it had: the API, users and their sessions go on.

On a stack of its own, in the shape of such a service; the stack of the other tests has one control plane.
"""

import time
from collections.abc import Callable, Iterator
from http import HTTPStatus

import pytest
from requests import RequestException

from components.local_machines import nspawn
from operations.stack import Stack
from tests.faults.conftest import PLANES_STACK
from tests.live import machines, own
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, http_session
from tests.live.waiting import until

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900, func_only=True)]

CONFIG = {
    **own.CONFIG,
    "cygnet:machines": {
        "source": "local",
        "groups": {"control_plane": {"count": 3, "memory_gib": 3}, "worker": {"count": 1, "memory_gib": 3}},
    },
    "cygnet:software": {"releases": ["stable"]},
}


@pytest.fixture(scope="module")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    made = own.own_stack(PLANES_STACK, CONFIG, keep=pytestconfig.option.keep)
    with capture.global_and_fixture_disabled():  # it takes minutes, and says what it does
        print()
        outputs = made.__enter__()
    try:
        yield LiveStack.of(PLANES_STACK, outputs, tmp_path_factory.mktemp("planes"))
    finally:
        with capture.global_and_fixture_disabled():
            made.__exit__(None, None, None)


def test_the_api_and_the_page_are_at_an_address_that_one_of_them_has(stack: LiveStack) -> None:
    shared = stack.parts["cluster"]["address"]
    assert stack.url == f"https://{shared}"
    assert shared not in [stack.address(machine) for machine in stack.machines]
    assert stack.host(_holder(stack)).check_output("hostname") == _holder(stack)


def test_it_moves_when_that_one_dies_and_sessions_go_on(
    stack: LiveStack, started: Callable[[str], Visitor], capsys: pytest.CaptureFixture[str]
) -> None:
    physicist = started("physicist")
    physicist.kernel().run("answer = 42")
    (identity,) = physicist.kernels()
    dead = _holder(stack)

    began = time.monotonic()
    machines.pull_the_plug(stack, dead)
    until(lambda: stack.items("nodes"), "the API answers", seconds=15, through=AssertionError)
    api = time.monotonic() - began
    assert _holder(stack, but=dead) != dead
    until(lambda: _page_answers(stack), "the hub's page answers", seconds=120, through=RequestException)
    page = time.monotonic() - began
    until(physicist.kernels, "the session can be reached", seconds=60, through=RequestException)
    assert physicist.kernel(identity).run("print(answer)") == "42\n"
    with capsys.disabled():
        print(f"\n{dead} died: the API answered after {api:.1f} s, the hub's page after {page:.0f} s")

    had = _holder(stack, but=dead)
    machines.bring_back(stack)
    until(lambda: _works(stack, dead), f"{dead} is back", seconds=120)
    assert _holder(stack) == had, "it does not move without need"


def test_one_that_lost_all_it_had_joins_again(stack: LiveStack) -> None:
    for lost in ("control-plane-2", "control-plane-1"):  # by the first one the others had joined
        nspawn.remove_machine(stack.name, lost, lambda _: None)
        machines.bring_back(stack)
        until(lambda: _works(stack, lost), f"{lost} is back", seconds=120)  # noqa: B023 - it is over before the next one
        assert len(stack.items("nodes")) == len(stack.machines)
        members = stack.kubectl(*_ETCDCTL, "member", "list").splitlines()
        assert [member.split(", ")[1] for member in members] == ["started"] * 3
    until(lambda: _page_answers(stack), "the hub's page answers", seconds=120, through=RequestException)


def test_a_second_up_changes_nothing(stack: LiveStack) -> None:
    Stack(stack.name).pulumi("preview", "--expect-no-changes", "--diff", capture=True)


_ETCDCTL = (
    "exec", "--namespace=kube-system", "etcd-control-plane-3", "--", "etcdctl",
    "--endpoints=https://127.0.0.1:2379", "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
    "--cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt", "--key=/etc/kubernetes/pki/etcd/healthcheck-client.key",
)  # fmt: skip


def _holder(stack: LiveStack, *, but: str = "") -> str:
    """The control plane that has the address; of all but a dead one."""
    shared = f"{stack.parts['cluster']['address']}/32"
    alive = [name for name in stack.group("control_plane") if name != but]
    (found,) = [name for name in alive if shared in stack.host(name).check_output("ip -brief address")]
    return found


def _works(stack: LiveStack, machine: str) -> bool:
    """Whether its node is ready, and its etcd and its API."""
    pods = {f"{part}-{machine}" for part in ("etcd", "kube-apiserver")}
    ready = [*stack.items("nodes"), *stack.items("pods", "--namespace", "kube-system")]
    return {machine, *pods} <= {
        one["metadata"]["name"]
        for one in ready
        for condition in one["status"].get("conditions", [])
        if (condition["type"], condition["status"]) == ("Ready", "True")
    }


def _page_answers(stack: LiveStack) -> bool:
    return http_session(stack.ca_file).get(f"{stack.url}/hub/login", timeout=2).status_code == HTTPStatus.OK

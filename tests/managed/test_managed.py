"""The service in a cluster of others: up by a kubeconfig, used, its mounts repaired, and gone without a trace there."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from testinfra.host import Host
from websocket import WebSocketException

from components.kubectl import kubectl
from operations import down, up
from operations.stack import Stack
from tests.live.kernel import KernelError
from tests.live.own import write_config
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session
from tests.live.waiting import until
from tests.managed import cloud

pytestmark = pytest.mark.nightly

STACK: Final = "managed-test"
NAMESPACES: Final = {"hub", "sessions", "gateway", "cvmfs"}
_REACH: Final = """
import socket
try:
    socket.create_connection(("{}", 5000), 3)
    print("reached")
except OSError:
    print("no")
"""


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[dict[str, Any]]:
    """What the cloud tells of its cluster."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    made = cloud.cluster(tmp_path_factory.mktemp("cloud"))
    with capture.global_and_fixture_disabled():  # it takes minutes, and says what it does
        given = made.__enter__()
    try:
        yield given
    finally:
        with capture.global_and_fixture_disabled():
            made.__exit__(None, None, None)


@pytest.fixture(scope="module")
def stack(
    offered: dict[str, Any], tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[LiveStack]:
    folder = tmp_path_factory.mktemp("stack")
    (folder / "opens").write_text(offered["kubeconfig"])
    made = Stack(STACK)
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with pytest.MonkeyPatch.context() as patch, capture.global_and_fixture_disabled():
        patch.setenv("KUBECONFIG", str(folder / "opens"))
        try:
            write_config(made, config(offered))
            made.ensure()
            login = offered["registry"]["password"]
            made.pulumi("config", "set", "--secret", "--path", "cygnet:registry.password", login, capture=True)
            up.bring_up(made)
            yield LiveStack.of(STACK, made.outputs(), folder)
        finally:
            down.take_down(made, everything=True)
            made.file.unlink(missing_ok=True)


def config(offered: dict[str, Any]) -> dict[str, Any]:
    told = offered["software"]
    (release,) = told["releases"]
    return {
        "cygnet:cluster": {"source": "existing"},
        "cygnet:registry": {
            "address": offered["registry"]["address"],
            "username": offered["registry"]["username"],
            "authority": offered["authority"],
        },
        "cygnet:storage": {"storage_class": offered["storage_class"]},
        "cygnet:eos": {"client": "none", "home_gib": 1},
        "cygnet:cvmfs": {
            "poll_seconds": 5,
            "cache_gib": 2,
            "repositories": {told["repository"]: {"servers": [told["url"]], "public_keys": [told["public_key"]]}},
        },
        "cygnet:software": {"releases": [], "views": {"analysis": {"title": "Analysis", "path": release["view"]}}},
        "cygnet:auth": {"accounts": ["physicist"], "admins": ["operator"]},
        "cygnet:hub": {"memory_gib_guaranteed": 0.2, "memory_gib": 2},
    }


@pytest.fixture
def nodes(offered: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Host]:
    """The cloud's machines, which the stack knows nothing of."""
    told = {**offered, "accounts": {}, "certificate_authority": offered["authority"], "parts": {"auth": {"admins": []}}}
    seen = LiveStack.of(cloud.NAME, told, tmp_path_factory.mktemp("nodes"))
    return {name: seen.host(name) for name in seen.machines}


def test_a_person_analyses_with_software_that_a_pod_mounts(stack: LiveStack) -> None:
    with session(stack, "physicist") as visitor:
        # ROOT may warn besides.
        printed = visitor.run("import ROOT; print(ROOT.TH1F('h', '', 1, 0, 1).GetName())", seconds=120)
        assert "h" in printed.splitlines()
        assert visitor.run("open('kept', 'w').write('x'); print('written')") == "written\n"
    with session(stack, "physicist") as visitor:
        assert visitor.run("print(open('kept').read())") == "x\n"


def test_who_has_no_account_stays_outside(stack: LiveStack) -> None:
    assert "Invalid username or password" in Visitor(stack, "physicist").sign_in("wrong").text


def test_sessions_do_not_reach_what_is_inside_of_the_cluster(stack: LiveStack, offered: dict[str, Any]) -> None:
    with session(stack, "physicist") as visitor:
        assert visitor.run(_REACH.format(offered["url"])) == "no\n"


def test_a_client_that_was_killed_mounts_again_for_sessions_that_run(stack: LiveStack, nodes: dict[str, Host]) -> None:
    look = f"import os; print(len(os.listdir('/cvmfs/{next(iter(stack.parts['cvmfs']['repositories']))['name']}')) > 0)"
    with session(stack, "physicist") as visitor:
        worker = nodes[stack.session_machine("physicist")]
        worker.check_output("kill -9 $(pidof swfs)")
        # A kernel is a program of a release: without the mount it does not even start.
        not_yet = (KernelError, WebSocketException)
        until(lambda: visitor.run(look) == "True\n", "the session sees it again", seconds=60, through=not_yet)


def test_a_second_up_changes_nothing(stack: LiveStack) -> None:
    Stack(stack.name).pulumi("preview", "--expect-no-changes", "--diff", capture=True)


@pytest.mark.timeout(240, func_only=True)
def test_all_of_it_goes_and_nothing_else(stack: LiveStack, offered: dict[str, Any], nodes: dict[str, Host]) -> None:
    opens = offered["kubeconfig"]

    def namespaces() -> set[str]:
        listed = json.loads(kubectl(opens, "get", "namespaces", "-ojson"))["items"]
        return {one["metadata"]["name"] for one in listed}

    assert namespaces() >= NAMESPACES
    down.take_down(Stack(stack.name), everything=True)
    assert not namespaces() & NAMESPACES
    assert "storage" in namespaces(), "that of the cloud's"
    for name, node in nodes.items():
        assert "swfs" not in node.check_output("cat /proc/mounts"), name

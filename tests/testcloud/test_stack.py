"""A service on servers of the cloud: up from nothing, used, looked after, scaled, and gone without anything left."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from openstack.connection import Connection

from operations import down, up
from operations.stack import PROJECT, Stack
from tests.live import own
from tests.live.stack import LiveStack
from tests.live.visitor import session
from tests.testcloud import names, service
from tests.testcloud.server import opens, until

pytestmark = pytest.mark.nightly

_OURS = f"cygnet-{service.STACK}"


@pytest.fixture(scope="module")
def stack(
    testcloud: None,  # noqa: ARG001 - has to be up
    pytestconfig: pytest.Config,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[LiveStack]:
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OS_CLIENT_CONFIG_FILE", str(names.CLOUDS))
        _empty_shared_folders()
        began = time.monotonic()
        made = own.own_stack(service.STACK, service.config(), keep=pytestconfig.option.keep)
        with capture.global_and_fixture_disabled():  # it takes minutes, and says what it does
            outputs = made.__enter__()
        try:
            live = LiveStack.of(service.STACK, outputs, tmp_path_factory.mktemp("stack"))
            with session(live, "physicist") as visitor:
                assert visitor.run("print(6 * 7)") == "42\n"
            with capture.global_and_fixture_disabled():
                seconds = time.monotonic() - began
                print(f"stack {service.STACK}: a cell was executed after {seconds:.0f} s", file=sys.stderr)
            yield live
        finally:
            made.__exit__(None, None, None)
            if not pytestconfig.option.keep:
                _empty_shared_folders()


def test_every_machine_is_an_active_server_in_the_group_of_its_kind(stack: LiveStack, demo: Connection) -> None:
    servers = {server.name: server for server in demo.compute.servers(name=f"{_OURS}-")}
    assert {name: server.status for name, server in servers.items()} == {
        f"{_OURS}-{name}": "ACTIVE" for name in stack.machines
    }
    members = {group.name: set(group.member_ids) for group in demo.compute.server_groups()}
    for kind in ("control_plane", "worker"):
        wanted = {servers[f"{_OURS}-{name}"].id for name in stack.group(kind)}
        assert members[f"{_OURS}-{kind.replace('_', '-')}"] == wanted


def test_users_and_administrators_reach_what_they_need_and_nothing_else(stack: LiveStack) -> None:
    first = stack.group("control_plane")[0]
    wanted = {443, 80, urlsplit(stack.parts["files"]["url"]).port, 22, 5000, 6443}
    inner = {1094, 2379, 8000, 10250}  # homes, etcd, the software repository, the kubelet
    listening = stack.host(first).check_output("ss --listening --tcp --numeric --no-header")
    assert [port for port in inner if f":{port} " not in listening] == []
    assert {port for port in wanted | inner if opens(stack.address(first), port)} == wanted


def test_a_second_up_changes_nothing(stack: LiveStack) -> None:
    said = json.loads(Stack(stack.name).pulumi("preview", "--json", capture=True))
    changed = [(one["op"], one["urn"], one.get("diffReasons")) for one in said["steps"] if one["op"] != "same"]
    assert changed == []


@pytest.mark.timeout(300, func_only=True)
def test_what_is_true_of_any_service_is_true_of_it(stack: LiveStack) -> None:
    _passes(stack, "tests/smoke")


@pytest.mark.timeout(1800, func_only=True)
def test_no_session_is_lost_while_a_worker_with_a_gpu_comes_and_goes(stack: LiveStack, admin: Connection) -> None:
    with session(stack, f"seat-{service.SEATS:03}") as visitor:
        kernel = visitor.kernel()
        kernel.run("kept = 42")
        kernel.close()
        (identity,) = visitor.kernels()
        for with_gpu in (True, False):
            own.write_config(Stack(stack.name), service.config(with_gpu=with_gpu))
            up.run(argparse.Namespace(stack=stack.name))
            nodes = {node["metadata"]["name"]: node for node in stack.items("nodes")}
            assert set(nodes) == {"control-plane-1", "worker-1", *(["gpu-t4-1"] if with_gpu else [])}
            assert _gpus_in_use(admin) == with_gpu
            if with_gpu:
                assert nodes["gpu-t4-1"]["metadata"]["labels"]["cygnet.io/gpu"] == "t4"
                taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
                assert taint in nodes["gpu-t4-1"]["spec"]["taints"]
                _advertise(stack, "gpu-t4-1")
                _passes(stack, "tests/smoke/test_gpu.py", "tests/journeys/test_gpus.py", "--nightly")
            kernel = visitor.kernel(identity)
            assert kernel.run("print(kept)") == "42\n"
            kernel.close()


@pytest.mark.timeout(1800, func_only=True)
def test_no_session_is_lost_while_three_workers_become_five_and_three_again(
    stack: LiveStack, capsys: pytest.CaptureFixture[str]
) -> None:
    def scale(workers: int) -> None:
        began = time.monotonic()
        own.write_config(Stack(stack.name), service.config(workers=workers))
        up.run(argparse.Namespace(stack=stack.name))
        nodes = {node["metadata"]["name"] for node in stack.items("nodes")}
        assert nodes == {"control-plane-1", *_workers(workers)}
        with capsys.disabled():
            print(f"\n{workers} workers after {time.monotonic() - began:.0f} s")

    scale(3)
    with ExitStack() as open_sessions:
        kept = []
        for number, machine in enumerate(_workers(3), 1):
            with stack.closed(*({*_workers(3)} - {machine})):
                visitor = open_sessions.enter_context(session(stack, f"seat-{number:03}"))
            assert stack.session_machine(visitor.name) == machine
            kernel = visitor.kernel()
            kernel.run(f"kept = {number}")
            kernel.close()
            kept.append((visitor, visitor.kernels()[0]))
        for workers in (5, 3):
            scale(workers)
            for number, (visitor, identity) in enumerate(kept, 1):
                kernel = visitor.kernel(identity)
                assert kernel.run("print(kept)") == f"{number}\n"
                kernel.close()


def test_destroy_leaves_nothing_in_the_cloud(stack: LiveStack, demo: Connection, pytestconfig: pytest.Config) -> None:
    if pytestconfig.option.keep:
        pytest.skip("it is to be kept")
    down.take_down(Stack(stack.name), everything=True)
    until(lambda: not list(demo.compute.servers(name=_OURS)))
    assert _left(demo) == []


def _passes(stack: LiveStack, *tests: str) -> None:
    asked = [sys.executable, "-m", "pytest", "-q", *tests, "--stack", stack.name]
    done = subprocess.run(asked, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def _advertise(stack: LiveStack, machine: str) -> None:
    """Has Kubernetes count a GPU there, as a device plugin would: there is none in this computer."""
    added = json.dumps({"status": {"capacity": {"nvidia.com/gpu": "1"}}})
    stack.kubectl("patch", "node", machine, "--subresource=status", "--type=merge", f"--patch={added}")


def _workers(count: int) -> list[str]:
    return [f"worker-{number}" for number in range(1, count + 1)]


def _empty_shared_folders() -> None:
    """What is on a site's shared file system outlives a stack; the next one of this name would go on with it."""
    for kept in names.SHARED.glob("*/*"):
        shutil.rmtree(kept)


def _left(cloud: Connection) -> list[str]:
    """What the project has by the stack's name, or by nobody's, as volumes and ports may be left; of each service."""
    named = {
        "keypair": cloud.compute.keypairs(),
        "server": cloud.compute.servers(),
        "server group": cloud.compute.server_groups(),
        "image": cloud.image.images(visibility="private"),
        "network": cloud.network.networks(),
        "router": cloud.network.routers(),
        "security group": cloud.network.security_groups(),
        "port": cloud.network.ports(),
        "floating IP": cloud.network.ips(),
        "volume": cloud.block_storage.volumes(),
        "snapshot": cloud.block_storage.snapshots(),
    }
    return [
        f"{kind} {one.name or one.id}"
        for kind, listed in named.items()
        for one in listed
        if (one.name or "").startswith(_OURS) or f"{_OURS}" in (getattr(one, "tags", None) or [])
    ]


def _gpus_in_use(admin: Connection) -> int:
    """As Placement counts them."""
    asked = admin.placement.get("/resource_providers?resources=CUSTOM_GPU_T4:1", microversion="1.4")
    free = len(asked.json()["resource_providers"])
    return 1 - free

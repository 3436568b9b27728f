"""Two users cannot see or reach one another, nor what carries the service."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from websocket import WebSocketException

from tests.live.kernel import KernelError
from tests.live.reach import reached
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session
from tests.live.waiting import until

LOOK_AROUND = """\
import json, os, pathlib, shutil, subprocess

status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
limits = [pathlib.Path("/sys/fs/cgroup", name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
print(json.dumps({
    "user": os.getuid(),
    "capabilities": int(status["CapEff"], 16) | int(status["CapPrm"], 16),
    "no new privileges": int(status["NoNewPrivs"]),
    "seccomp": int(status["Seccomp"]),
    "sudo": shutil.which("sudo"),
    "Kubernetes' token": os.path.exists("/var/run/secrets/kubernetes.io"),
    "homes": [name for name, home in HOMES.items() if os.access(home, os.R_OK) or os.access(home + "/x", os.F_OK)],
    "memory": next(int(file.read_text()) for file in limits if file.exists()),
    "promised memory": int(os.environ["MEM_LIMIT"]),
    "can write to /usr": os.access("/usr", os.W_OK),
    "other users' processes": sorted({
        folder.owner() for folder in pathlib.Path("/proc").glob("[0-9]*") if folder.stat().st_uid != os.getuid()
    }),
}))
"""


# No more than a little too much: without a limit it would be the machine's.
TAKE_TOO_MUCH = """\
import os
data = [b"x" * 2**26 for _ in range(int(os.environ["MEM_LIMIT"]) // 2**26 + 8)]
"""


@pytest.fixture(scope="module")
def physicist(stack: LiveStack) -> Iterator[Visitor]:
    with session(stack, "physicist") as started:
        yield started


@pytest.fixture(scope="module")
def neighbour(stack: LiveStack) -> Iterator[Visitor]:
    if "neighbour" not in stack.accounts:
        pytest.skip(f"the stack '{stack.name}' has no account 'neighbour'")
    with session(stack, "neighbour") as started:
        yield started


@pytest.mark.parametrize("path", ["api/contents", "api/kernels", "lab", "files/secret.txt"])
def test_a_neighbours_session_is_closed(physicist: Visitor, neighbour: Visitor, path: str) -> None:
    assert neighbour.api("GET", f"/user/{physicist.name}/{path}", allow_redirects=False).status_code in (403, 404)
    # The same with a browser's cookie in place of a token.
    page = neighbour.http.get(f"{neighbour.url}/user/{physicist.name}/{path}", timeout=30)
    assert page.status_code in (403, 404), page.url


def test_a_user_sees_nobody_else_on_the_hub(physicist: Visitor, neighbour: Visitor) -> None:
    assert neighbour.api("GET", f"/hub/api/users/{physicist.name}").status_code in (403, 404)
    assert neighbour.api("GET", "/hub/api/users").status_code == 403
    assert neighbour.api("DELETE", f"/hub/api/users/{physicist.name}/server").status_code in (403, 404)


def test_a_session_reaches_the_hub_and_nothing_else(stack: LiveStack, physicist: Visitor, neighbour: Visitor) -> None:
    pod = stack.session_pod(physicist.name)
    other = stack.session_pod(neighbour.name)
    assert pod
    assert other
    control_plane, node = stack.address("control-plane-1"), pod["status"]["hostIP"]
    api_service = stack.items("service", "--namespace", "default")[0]["spec"]["clusterIP"]
    closed = {
        "the neighbour's session": (other["status"]["podIP"], 8888),
        "the API server": (control_plane, 6443),
        "the API server's service": (api_service, 443),
        "etcd": (control_plane, 2379),
        "the registry": (control_plane, 5000),
        "the software repository": (control_plane, 8000),
        "the server of homes": (control_plane, 1094),
        "the proxy of repositories": (control_plane, 3128),
        "the control plane's SSH": (control_plane, 22),
        "its machine's SSH": (node, 22),
        "its machine's kubelet": (node, 10250),
        "another machine's kubelet": (control_plane, 10250),
        "the hub's proxy": ("proxy-api.hub.svc", 8001),
        "the server of files": ("files.files.svc", 3923),
        "the preview of files": ("files.files.svc", 3924),
        "the hub's service for files": ("hub.hub.svc", 8082),
        "a cloud's credentials": ("169.254.169.254", 80),
    }
    targets = {**closed, "the hub": ("hub.hub.svc", 8081)}
    tried = dict(zip(targets, reached(physicist, list(targets.values())), strict=True))
    assert [target for target, outcome in tried.items() if outcome == "open"] == ["the hub"], tried


def test_a_session_is_unprivileged_and_limited(stack: LiveStack, physicist: Visitor) -> None:
    homes = {name: stack.home(name) for name in stack.accounts}
    seen = _run(physicist, LOOK_AROUND.replace("HOMES", repr(homes)))
    assert seen["user"] != 0
    assert seen["capabilities"] == 0
    assert seen["no new privileges"] == 1
    assert seen["seccomp"] == 2
    assert seen["sudo"] is None
    assert not seen["Kubernetes' token"]
    assert seen["homes"] == [physicist.name]
    assert seen["memory"] == seen["promised memory"]
    assert not seen["can write to /usr"]
    assert seen["other users' processes"] == []


def test_a_session_that_takes_too_much_memory_ends_alone(physicist: Visitor, neighbour: Visitor) -> None:
    going_on = neighbour.kernel()
    going_on.run("x = 42")
    # The kernel dies, or the whole session with it.
    with pytest.raises((KernelError, WebSocketException), match=r"died|lost|closed"):
        physicist.kernel().run(TAKE_TOO_MUCH)
    assert going_on.run("print(x)") == "42\n"
    until(lambda: physicist.api("GET", f"/user/{physicist.name}/api/kernels").ok, "the session answers", seconds=60)


def _run(visitor: Visitor, code: str) -> Mapping[str, Any]:
    """What a piece of Python prints in the visitor's session, as JSON."""
    answer: Mapping[str, Any] = json.loads(visitor.run(code))
    return answer

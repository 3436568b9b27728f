"""A cluster as a cloud would offer it, made of this project's own parts; and what gives its services load balancers."""

import json
import os
import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from components.errors import CygnetError
from components.kubectl import kubectl
from components.kubernetes import CONTROL_PLANE_LABEL, UNWELL_TAINT
from operations import down, up
from operations.stack import PROJECT, Stack

NAME: Final = "cloud"
_PROGRAM: Final = Path(__file__).parent / "cluster/__main__.py"
_WORKERS: Final = f"--selector=!{CONTROL_PLANE_LABEL}"
_SECONDS: Final = 2.0  # between two looks at who wants a load balancer


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, Any]]:
    """A cluster on two local machines, in a project of its own; gives what that tells, and removes it."""
    stack = Stack(NAME, folder)
    stack.file.parent.mkdir(parents=True)
    stack.file.write_text("config: {}\n")
    shutil.copy(_PROGRAM, stack.file.parent)
    (folder / "Pulumi.yaml").write_text("name: cygnet\nruntime: python\nmain: stacks\nstackConfigDir: stacks\n")
    (folder / "state").mkdir()
    former = {name: os.environ.get(name) for name in _environment(folder)}
    with _set(_environment(folder)):
        try:
            up.bring_up(stack)
            given = stack.outputs()
            # Our own clusters keep sessions away until the health of a machine is known; nobody's else does.
            kubectl(given["kubeconfig"], "taint", "nodes", _WORKERS, f"{UNWELL_TAINT}-")
            with _set(former), load_balancers(given["kubeconfig"]):
                yield given
        finally:
            down.take_down(stack, everything=True)


@contextmanager
def load_balancers(kubeconfig: str) -> Iterator[None]:
    """Gives services that want a load balancer the address of the worker, which is what kube-proxy needs of a cloud."""
    nodes = json.loads(kubectl(kubeconfig, "get", "nodes", _WORKERS, "-ojson"))
    (address,) = (one["address"] for one in nodes["items"][0]["status"]["addresses"] if one["type"] == "InternalIP")
    ended = threading.Event()

    def serve() -> None:
        while not ended.wait(_SECONDS):
            try:
                found = json.loads(kubectl(kubeconfig, "get", "services", "--all-namespaces", "-ojson"))["items"]
                for one in found:
                    if one["spec"]["type"] == "LoadBalancer" and not one["status"].get("loadBalancer"):
                        _give(kubeconfig, one["metadata"], address)
            except CygnetError:
                continue  # the cluster is busy; the next look is soon

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _give(kubeconfig: str, service: dict[str, Any], address: str) -> None:
    status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
    where = ("--namespace", service["namespace"], service["name"])
    kubectl(kubeconfig, "patch", "service", *where, "--subresource=status", "--type=merge", "-p", json.dumps(status))


def _environment(folder: Path) -> dict[str, str]:
    return {
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": secrets.token_urlsafe(),
        "PYTHONPATH": str(PROJECT),
    }


@contextmanager
def _set(variables: dict[str, str] | dict[str, str | None]) -> Iterator[None]:
    """Sets variables of the environment, or takes them away, for a while."""
    former = {name: os.environ.get(name) for name in variables}
    _apply(dict(variables))
    try:
        yield
    finally:
        _apply(former)


def _apply(variables: dict[str, Any]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value

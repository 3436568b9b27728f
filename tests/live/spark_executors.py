"""A live stack's clusters for Spark, of any kind: sessions that have one, and executors as an operator sees them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

# What looks for itself finds nothing: its own words are not what they mean.
_PROCESSES = "grep -la '[E]xecutorBackend' /proc/[0-9]*/cmdline 2>/dev/null || true"


def cluster_of_kind(stack: LiveStack, kind: str) -> str | None:
    """The first cluster of that kind which the stack offers, if there is one."""
    return next((name for name, other in sorted(stack.parts["spark"]["kinds"].items()) if other == kind), None)


def cluster_or_skip(stack: LiveStack, kind: str) -> str:
    """The same, for a test that needs one."""
    if (name := cluster_of_kind(stack, kind)) is None:
        pytest.skip(f"the stack '{stack.name}' has no cluster for Spark of kind {kind}: cygnet:spark.clusters")
    return name


def open_port_or_skip(stack: LiveStack, cluster: str, network: str) -> int:
    """The first port of a network that is open to executors of a cluster, for a test that needs one."""
    opened = stack.parts["spark"].get("open_networks", {}).get(cluster, ())
    if (port := next((one["ports"][0] for one in opened if one["network"] == network), None)) is None:
        key = f"cygnet:spark.clusters.{cluster}.executors.open_networks"
        pytest.skip(f"executors of the stack '{stack.name}' may not go to {network}: {key}")
    return int(port)


@contextmanager
def session_with(stack: LiveStack, cluster: str, user: str) -> Iterator[Visitor]:
    """A user with a new session that has the cluster; it is stopped at the end."""
    visitor = Visitor(stack, user)
    visitor.stop()
    try:
        visitor.start(spark=cluster)
        yield visitor
    finally:
        visitor.stop()


def place(stack: LiveStack, user: str) -> str | None:
    """The namespace of a user's executors that are pods; nothing where there is none, or one that is going."""
    found = stack.items("namespaces", f"--selector=cygnet.io/owner={user}")
    return next((one["metadata"]["name"] for one in found if "deletionTimestamp" not in one["metadata"]), None)


def pods(stack: LiveStack, user: str) -> list[dict[str, Any]]:
    """A user's executors that are pods, and run."""
    if (namespace := place(stack, user)) is None:
        return []
    found = stack.items("pods", "--namespace", namespace)
    return [pod for pod in found if pod["status"].get("phase") == "Running"]


def running(stack: LiveStack, cluster: str, user: str) -> list[str]:
    """Names of executors: a user's own where they are pods, else all that a standalone cluster has."""
    if stack.parts["spark"]["kinds"][cluster] == "kubernetes":
        return [str(pod["metadata"]["name"]) for pod in pods(stack, user)]
    chosen = f"--selector=app.kubernetes.io/name=spark-worker,cygnet.io/spark={cluster}"
    return [
        f"{worker['metadata']['name']}:{process}"
        for worker in stack.items("pods", "--namespace", "spark", chosen)
        if worker["status"].get("phase") == "Running"
        for process in stack.kubectl(
            "exec", "--namespace=spark", worker["metadata"]["name"], "--", "sh", "-c", _PROCESSES
        ).split()
    ]

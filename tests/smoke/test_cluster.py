"""Kubernetes on the machines."""

import json
from typing import Any

import pytest
import requests

from components import cluster_preflight
from engine.versions import VERSIONS
from tests.live import strangers
from tests.live.stack import LiveStack
from tests.live.visitor import http_session
from tests.preflight import assert_happened


@pytest.fixture
def anonymous(stack: LiveStack) -> requests.Session:
    """HTTP without credentials that trusts Kubernetes' own authority."""
    return http_session(stack.kubernetes_ca_file)


def test_every_machine_is_a_ready_node(stack: LiveStack) -> None:
    nodes = {node["metadata"]["name"]: node for node in stack.items("nodes")}
    assert set(nodes) == set(stack.machines)
    assert [name for name, node in nodes.items() if _condition(node, "Ready") != "True"] == []


def test_no_node_runs_short_of_anything(stack: LiveStack) -> None:
    pressures = ("MemoryPressure", "DiskPressure", "PIDPressure")
    assert [
        f"{node['metadata']['name']}: {pressure}"
        for node in stack.items("nodes")
        for pressure in pressures
        if _condition(node, pressure) != "False"
    ] == []


def test_all_parts_have_the_pinned_version(stack: LiveStack) -> None:
    pinned = f"v{VERSIONS['kubernetes']}"
    versions = {node["metadata"]["name"]: node["status"]["nodeInfo"]["kubeletVersion"] for node in stack.items("nodes")}
    versions["API server"] = json.loads(stack.kubectl("version", "--output=json"))["serverVersion"]["gitVersion"]
    assert versions == dict.fromkeys(versions, pinned)


def test_the_pre_flight_lets_it_go_on_and_no_version_be_skipped(stack: LiveStack) -> None:
    kubeconfig = (stack.folder / "kubeconfig").read_text()
    assert cluster_preflight.findings(kubeconfig, VERSIONS["kubernetes"], pytest.fail) == []
    assert_happened("Kubernetes too new", cluster_preflight.findings(kubeconfig, "1.99.0", pytest.fail))


@pytest.mark.parametrize(
    "workload",
    ["deployment/coredns --namespace=kube-system", "daemonset/kube-proxy --namespace=kube-system"],
)
def test_what_kubernetes_needs_is_there(stack: LiveStack, workload: str) -> None:
    assert "successfully rolled out" in stack.kubectl("rollout", "status", "--timeout=10s", *workload.split())


def test_no_pod_restarts_again_and_again(stack: LiveStack) -> None:
    waiting = [
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}: {container['state']['waiting']['reason']}"
        for pod in stack.items("pods")
        for container in pod["status"].get("containerStatuses", [])
        if container["state"].get("waiting", {}).get("reason")
        in ("CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull")
    ]
    assert waiting == []


def test_the_api_refuses_strangers(stack: LiveStack, anonymous: requests.Session) -> None:
    server = f"https://{stack.parts['cluster']['address']}:6443"
    answers = {path: anonymous.get(f"{server}{path}", timeout=10).status_code for path in ("/api", "/apis", "/version")}
    assert set(answers.values()) <= {401, 403}, answers


def test_kubelets_refuse_strangers(stack: LiveStack, anonymous: requests.Session) -> None:
    # A kubelet's certificate is signed by itself; who is refused needs not know who refuses.
    anonymous.verify = False
    for name in stack.machines:
        assert strangers.answer(anonymous, f"https://{stack.address(name)}:10250/pods") in (401, None), name


def test_etcd_refuses_strangers(stack: LiveStack, anonymous: requests.Session) -> None:
    anonymous.verify = False
    for name in stack.group("control_plane"):
        with pytest.raises(requests.exceptions.RequestException):
            anonymous.get(f"https://{stack.address(name)}:2379/version", timeout=(3, 10))


def test_secrets_are_encrypted_at_rest(stack: LiveStack) -> None:
    servers = stack.items("pods", "--namespace", "kube-system", "--selector=component=kube-apiserver")
    assert servers
    for server in servers:
        command = server["spec"]["containers"][0]["command"]
        assert any(word.startswith("--encryption-provider-config=") for word in command)


@pytest.mark.parametrize("part", ["hub", "sessions", "gateway"])
def test_every_pod_of_ours_is_under_a_network_policy(stack: LiveStack, part: str) -> None:
    policies = stack.items("networkpolicies", "--namespace", part)
    selectors = [policy["spec"]["podSelector"].get("matchLabels", {}) for policy in policies]
    for pod in stack.items("pods", "--namespace", part):
        labels = pod["metadata"]["labels"].items()
        assert any(selector.items() <= labels for selector in selectors), pod["metadata"]["name"]


def test_no_service_is_open_on_the_machines(stack: LiveStack) -> None:
    kinds = {service["metadata"]["name"]: service["spec"]["type"] for service in stack.items("services")}
    assert {name: kind for name, kind in kinds.items() if kind not in ("ClusterIP", "ExternalName")} == {}


def _condition(node: dict[str, Any], kind: str) -> str:
    return next(str(one["status"]) for one in node["status"]["conditions"] if one["type"] == kind)

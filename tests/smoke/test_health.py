"""Whether the machines' mounts answer is watched on each of them, and what the watcher may do is one taint."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from components.kubernetes import UNWELL_TAINT
from tests.live.stack import LiveStack

_FOLDER = "/etc/cygnet/health"
_PEM = f"{_FOLDER}/client.pem"


def test_every_machine_looks_after_its_mounts_and_finds_them_well(hosts: Mapping[str, Host]) -> None:
    for name, host in hosts.items():
        assert host.service("cygnet-health").is_enabled, name
        assert host.service("cygnet-health").is_running, name
        status = host.check_output("systemctl show cygnet-health --property=StatusText --value")
        assert status == "all is well", f"{name}: {status}"


def test_every_repository_is_looked_after(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    repositories = {f"/cvmfs/{repository['name']}" for repository in stack.parts["cvmfs"]["repositories"]}
    mounts = stack.parts["health"]["mounts"]
    assert {mount["path"] for mount in mounts if mount["part"] == "cvmfs"} == repositories
    for name, host in hosts.items():
        assert json.loads(host.check_output("cat %s/health.json", _FOLDER))["mounts"] == mounts, name


def test_no_machine_keeps_sessions_away(stack: LiveStack) -> None:
    taints = {node["metadata"]["name"]: node["spec"].get("taints", []) for node in stack.items("nodes")}
    assert [name for name, found in taints.items() if any(one["key"] == UNWELL_TAINT for one in found)] == []


def test_its_certificate_is_closed_and_is_good_for_months(hosts: Mapping[str, Host]) -> None:
    for name, host in hosts.items():
        file = host.file(_PEM)
        assert (file.mode, file.user, file.group) == (0o600, "root", "root"), name
        assert host.run("openssl x509 -noout -checkend %s -in %s", str(30 * 24 * 3600), _PEM).rc == 0, name


def test_it_has_none_of_roots_powers(hosts: Mapping[str, Host]) -> None:
    for name, host in hosts.items():
        pid = host.check_output("systemctl show cygnet-health --property=MainPID --value")
        assert "CapEff:\t0000000000000000" in host.check_output("cat /proc/%s/status", pid), name


@pytest.fixture
def machine(stack: LiveStack) -> str:
    return list(stack.machines)[-1]


def asked(stack: LiveStack, machine: str, arguments: str) -> tuple[int, str]:
    """kubectl's exit status and words, with the credentials of a machine's watcher."""
    host = stack.host(machine)
    server = json.loads(host.check_output("cat %s/health.json", _FOLDER))["api"]
    who = f"--certificate-authority={_FOLDER}/ca.crt --client-certificate={_PEM} --client-key={_PEM}"
    done = host.run(f"kubectl --server=https://{server} {who} {arguments}")
    return done.rc, done.stdout + done.stderr


def patched(stack: LiveStack, machine: str, node: str, change: Mapping[str, Any]) -> tuple[int, str]:
    """What the API answers to a change of a node, which is tried only."""
    body = json.dumps(change)
    return asked(stack, machine, f"patch node {node} --dry-run=server --type=merge --patch='{body}'")


def taint(key: str) -> dict[str, Any]:
    return {"spec": {"taints": [{"key": key, "value": "test", "effect": "NoSchedule"}]}}


def test_it_may_change_its_taint(stack: LiveStack, machine: str) -> None:
    rc, words = patched(stack, machine, machine, taint(UNWELL_TAINT))
    assert rc == 0, words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (taint("example.org/mine"), f"of the taints only {UNWELL_TAINT} may be changed"),
        ({"metadata": {"labels": {"mine": "yes"}}}, f"nothing but the taint {UNWELL_TAINT} may be changed"),
        ({"metadata": {"annotations": {"mine": "yes"}}}, f"nothing but the taint {UNWELL_TAINT} may be changed"),
        ({"metadata": {"finalizers": ["example.org/x"]}}, f"nothing but the taint {UNWELL_TAINT} may be changed"),
        ({"spec": {"unschedulable": True}}, f"nothing but the taint {UNWELL_TAINT} may be changed"),
    ],
    ids=["another taint", "a label", "an annotation", "a finalizer", "cordon"],
)
def test_it_may_change_nothing_else_of_its_node(
    stack: LiveStack, machine: str, change: dict[str, Any], words: str
) -> None:
    rc, said = patched(stack, machine, machine, change)
    assert rc != 0
    assert words in said


def test_it_may_change_no_other_node(stack: LiveStack, machine: str) -> None:
    other = next(iter(stack.machines))
    if other == machine:
        pytest.skip(f"the stack '{stack.name}' has one machine only")
    taints = next(node for node in stack.items("nodes") if node["metadata"]["name"] == other)["spec"].get("taints", [])
    change = {"spec": {"taints": [*taints, *taint(UNWELL_TAINT)["spec"]["taints"]]}}
    rc, said = patched(stack, machine, other, change)
    assert rc != 0
    assert "a machine may change its own node only" in said


@pytest.mark.parametrize(
    "what",
    [
        "list nodes", "delete nodes", "patch nodes --subresource=status", "delete pods --all-namespaces",
        "list pods --all-namespaces", "get secrets --all-namespaces", "create pods --all-namespaces",
        "create serviceaccounts/token --all-namespaces",
    ],
)  # fmt: skip
def test_it_may_do_nothing_else(stack: LiveStack, machine: str, what: str) -> None:
    _, words = asked(stack, machine, f"auth can-i {what}")
    assert words.split()[0] == "no", words


def test_a_kubelet_may_not_lift_the_taint(stack: LiveStack, machine: str) -> None:
    body = json.dumps({"spec": {"taints": [{"key": UNWELL_TAINT, "value": "test", "effect": "NoSchedule"}]}})
    kubelet = "--kubeconfig=/etc/kubernetes/kubelet.conf"
    done = stack.host(machine).run(
        f"kubectl {kubelet} patch node {machine} --dry-run=server --type=merge --patch='{body}'"
    )
    assert done.rc != 0
    assert "is not allowed to modify taints" in done.stderr

"""Pieces of manifests, and the rules by which all manifests are judged."""

import copy
from collections.abc import Callable
from typing import Any, TypedDict

import pytest

from components.kubernetes import container, pod_template
from tests.unit.manifests import careless, lets_in, lets_out, violations


class Size(TypedDict):
    """What a container may use."""

    requests: dict[str, str]
    limits: dict[str, str]


SIZE: Size = {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"memory": "1Mi"}}
GOOD = pod_template({"app": "x"}, container("x", "r/x:1", **SIZE), volumes={"tmp": {"emptyDir": {}}})["spec"]


def test_a_container_is_accepted_by_the_level_restricted() -> None:
    assert violations(GOOD) == []
    assert careless(GOOD) == []


def security(**edit: Any) -> Callable[[dict[str, Any]], None]:
    return lambda pod: pod["containers"][0]["securityContext"].update(edit)


@pytest.mark.parametrize(
    ("edit", "found"),
    [
        (security(privileged=True), "x: privileged"),
        (security(allowPrivilegeEscalation=None), "x: allowPrivilegeEscalation"),
        (security(capabilities={"drop": ["KILL"]}), "x: capabilities"),
        (security(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}), "x: capabilities"),
        (security(runAsNonRoot=None), "x: runAsNonRoot"),
        (security(runAsUser=0), "x: runAsUser"),
        (security(seccompProfile={"type": "Unconfined"}), "x: seccompProfile"),
        (security(readOnlyRootFilesystem=False), "x: readOnlyRootFilesystem"),
        (lambda pod: pod["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]), "x: hostPort"),
        (lambda pod: pod["containers"][0].update(resources={"requests": {"cpu": "1"}, "limits": {}}), "x: resources"),
        (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
        (lambda pod: pod.update(hostPID=True), "hostPID"),
        (lambda pod: pod["volumes"].append({"name": "etc", "hostPath": {"path": "/etc"}}), "volume etc"),
        (lambda pod: pod.update(automountServiceAccountToken=True), "automountServiceAccountToken"),
        (lambda pod: pod.pop("automountServiceAccountToken"), "automountServiceAccountToken"),
    ],
)
def test_each_rule_sees_its_violation(edit: Callable[[dict[str, Any]], None], found: str) -> None:
    pod = copy.deepcopy(GOOD)
    edit(pod)
    assert [*violations(pod), *careless(pod)] == [found]


def test_the_judge_of_policies_tells_inside_from_outside() -> None:
    policy = {"egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}]}
    assert lets_out(policy, "192.0.2.1")
    assert not lets_out(policy, "10.1.2.3")
    rule = {"from": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": 443}]}
    assert lets_in({"ingress": [rule]}, "192.0.2.1", 443)
    assert not lets_in({"ingress": [rule]}, "192.0.2.1", 22)
    assert not lets_in({"ingress": [rule]}, "198.51.100.1", 443)
    assert lets_in({"ingress": [{"ports": [{"port": 443}]}]}, "198.51.100.1", 443)


def test_ports_may_be_the_containers_own_or_the_machines_too() -> None:
    made = container("x", "r/x:1", ports={"a": 80, "b": (8443, 443)}, **SIZE)
    assert made["ports"] == [
        {"name": "a", "containerPort": 80},
        {"name": "b", "containerPort": 8443, "hostPort": 443},
    ]


def test_mounts_may_be_a_folder_of_a_volume() -> None:
    made = container("x", "r/x:1", mounts={"data": "/a", "data/sub": "/b"}, **SIZE)
    assert made["volumeMounts"] == [
        {"name": "data", "mountPath": "/a"},
        {"name": "data", "mountPath": "/b", "subPath": "sub"},
    ]


def test_variables_may_come_from_elsewhere() -> None:
    secret = {"secretKeyRef": {"name": "s", "key": "k"}}
    made = container("x", "r/x:1", env={"A": "1", "B": secret}, **SIZE)
    assert made["env"] == [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": secret}]


def test_what_is_not_said_is_not_there() -> None:
    made = container("x", "r/x:1", **SIZE)
    assert "command" not in made
    assert "readinessProbe" not in made


def test_two_containers_do_not_share_their_settings() -> None:
    first, second = (container("x", "r/x:1", **SIZE) for _ in range(2))
    first["securityContext"]["runAsUser"] = 0
    assert "runAsUser" not in second["securityContext"]


def test_a_pod_knows_the_api_server_only_when_it_is_somebody() -> None:
    somebody = pod_template({}, container("x", "r/x:1", **SIZE), service_account="hub")["spec"]
    assert (somebody["serviceAccountName"], somebody["automountServiceAccountToken"]) == ("hub", True)
    assert GOOD["automountServiceAccountToken"] is False


def test_a_pod_on_the_control_plane_bears_its_taint() -> None:
    spec = pod_template({}, container("x", "r/x:1", **SIZE), on_control_plane=True)["spec"]
    (label,) = spec["nodeSelector"]
    assert label == "node-role.kubernetes.io/control-plane"
    assert _taints(spec, "NoSchedule") == ["cygnet.io/unwell", label]
    assert "nodeSelector" not in GOOD


def test_a_pod_of_the_service_runs_where_sessions_may_not() -> None:
    spec = pod_template({}, container("x", "r/x:1", **SIZE))["spec"]
    assert _taints(spec, "NoSchedule") == ["cygnet.io/unwell"]


def test_a_pod_leaves_a_dead_machine_soon_unless_it_belongs_there() -> None:
    anywhere = pod_template({}, container("x", "r/x:1", **SIZE))["spec"]
    assert {one["tolerationSeconds"] for one in anywhere["tolerations"] if one["effect"] == "NoExecute"} == {10}
    bound = pod_template({}, container("x", "r/x:1", **SIZE), node="worker-1")["spec"]
    assert _taints(bound, "NoExecute") == []


def _taints(spec: dict[str, Any], effect: str) -> list[str]:
    return [one["key"] for one in spec["tolerations"] if one["effect"] == effect]

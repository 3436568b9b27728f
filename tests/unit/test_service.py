"""The whole service: each committed stack file, declared without a cloud."""

import json
from typing import Any

import pytest

from tests.unit import program
from tests.unit.manifests import careless, violations

EVERYWHERE = {
    "cygnet:index:Service": 1,
    "cygnet:index:Machines": 1,
    "cygnet:index:Registry": 1,
    "cygnet:index:Cluster": 1,
    "cygnet:index:Storage": 1,
    "cygnet:index:Software": 1,
    "cygnet:index:Cvmfs": 1,
    "cygnet:index:Auth": 1,
    "cygnet:index:Eos": 1,
    "cygnet:index:Health": 1,
    "cygnet:index:Hub": 1,
    "cygnet:index:Spark": 1,
    "cygnet:index:Login": 1,
    "cygnet:index:Files": 1,
    "cygnet:index:Gateway": 1,
    "cygnet:Authority": 1,
    "cygnet:Certificate": 2,
    "cygnet:Issuer": 1,
    "cygnet:TakenUp": 1,
    "cygnet:Passwords": 2,
    "cygnet:Token": 5,
    "cygnet:Keytab": 1,
    "cygnet:RepositoryKeys": 1,
    "cygnet:Publication": 1,
    "cygnet:Playbook": 8,
    "pulumi:providers:kubernetes": 1,
    "kubernetes:core/v1:ServiceAccount": 2,
    "kubernetes:core/v1:Service": 5,
    "kubernetes:core/v1:ConfigMap": 2,
    "kubernetes:core/v1:PersistentVolume": 3,
    "kubernetes:core/v1:PersistentVolumeClaim": 5,
    "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicy": 1,
    "kubernetes:admissionregistration.k8s.io/v1:ValidatingAdmissionPolicyBinding": 1,
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole": 3,
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": 3,
    "kubernetes:rbac.authorization.k8s.io/v1:Role": 1,
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": 1,
    "kubernetes:storage.k8s.io/v1:StorageClass": 1,
}
"""What each stack with machines of its own has."""

COUNTS = {
    "Pulumi.burst.yaml": {
        **EVERYWHERE,
        "cygnet:KeyPair": 4,
        "pulumi:providers:openstack": 1,
        "openstack:networking/network:Network": 1,
        "openstack:networking/secGroup:SecGroup": 3,
        "openstack:compute/serverGroup:ServerGroup": 2,
        "openstack:compute/keypair:Keypair": 1,
        "openstack:networking/router:Router": 1,
        "openstack:networking/subnet:Subnet": 1,
        "openstack:networking/secGroupRule:SecGroupRule": 7,
        "openstack:networking/routerInterface:RouterInterface": 1,
        "openstack:networking/port:Port": 3,
        "kubernetes:apps/v1:DaemonSet": 2,
        "openstack:networking/floatingIp:FloatingIp": 1,
        "openstack:compute/instance:Instance": 3,
        "cygnet:AnsweringServer": 3,
        "cygnet:Image": 15,
        "cygnet:Member": 3,
        "kubernetes:core/v1:Namespace": 5,
        "kubernetes:apps/v1:Deployment": 4,
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 5,
        "kubernetes:core/v1:Secret": 3,
    },
    "Pulumi.cern-prod.yaml": {
        **EVERYWHERE,
        "cygnet:index:Gpu": 1,
        "cygnet:Playbook": 9,
        "cygnet:KeyPair": 14,
        "pulumi:providers:openstack": 1,
        "openstack:networking/secGroup:SecGroup": 3,
        "openstack:compute/serverGroup:ServerGroup": 5,
        "openstack:blockstorage/volume:Volume": 1,
        "openstack:compute/keypair:Keypair": 1,
        "openstack:networking/secGroupRule:SecGroupRule": 7,
        "openstack:networking/port:Port": 4,  # those of the control planes, and that of the address they share
        "kubernetes:apps/v1:DaemonSet": 3,
        "openstack:compute/instance:Instance": 13,
        "openstack:compute/volumeAttach:VolumeAttach": 1,
        "cygnet:AnsweringServer": 13,
        "cygnet:Image": 15,
        "cygnet:Member": 13,
        "kubernetes:core/v1:Namespace": 6,
        "kubernetes:apps/v1:Deployment": 4,
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 6,
        "kubernetes:core/v1:PersistentVolumeClaim": 5,
        "kubernetes:core/v1:Secret": 3,
        "kubernetes:core/v1:ConfigMap": 3,  # one has those who come without being named
        "kubernetes:rbac.authorization.k8s.io/v1:Role": 3,
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": 3,
    },
    "Pulumi.local.yaml": {
        **EVERYWHERE,
        "cygnet:KeyPair": 4,
        "cygnet:LocalNetwork": 1,
        "cygnet:LocalMachine": 3,
        "kubernetes:apps/v1:DaemonSet": 2,
        "cygnet:Image": 15,
        "cygnet:Member": 3,
        "kubernetes:core/v1:Namespace": 5,
        "kubernetes:core/v1:Secret": 3,
        "kubernetes:apps/v1:Deployment": 4,
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 5,
    },
    "Pulumi.managed.yaml": {
        "cygnet:index:Service": 1,
        "cygnet:Authority": 1,
        "cygnet:index:Registry": 1,
        "cygnet:index:Cluster": 1,
        "cygnet:index:Storage": 1,
        "cygnet:index:Software": 1,
        "cygnet:index:Cvmfs": 1,
        "cygnet:index:Auth": 1,
        "cygnet:index:Eos": 1,
        "cygnet:index:Hub": 1,
        "cygnet:index:Spark": 1,
        "cygnet:index:Gateway": 1,
        "cygnet:Image": 5,
        "pulumi:providers:kubernetes": 1,
        "cygnet:Passwords": 1,
        "cygnet:Token": 3,
        "kubernetes:core/v1:Namespace": 3,
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRole": 1,
        "kubernetes:networking.k8s.io/v1:NetworkPolicy": 4,
        "kubernetes:rbac.authorization.k8s.io/v1:Role": 1,
        "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding": 1,
        "kubernetes:apps/v1:DaemonSet": 1,
        "kubernetes:core/v1:Service": 5,
        "kubernetes:core/v1:ServiceAccount": 1,
        "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding": 1,
        "kubernetes:apps/v1:Deployment": 3,
        "kubernetes:core/v1:PersistentVolumeClaim": 1,
        "kubernetes:core/v1:ConfigMap": 1,
        "cygnet:Issuer": 1,
        "cygnet:TakenUp": 1,
        "cygnet:Certificate": 1,
        "kubernetes:core/v1:Secret": 2,
    },
}


def test_every_committed_stack_file_is_counted() -> None:
    assert set(COUNTS) == {file.name for file in program.STACK_FILES}


@pytest.fixture(scope="module", params=program.STACK_FILES, ids=lambda file: file.name)
def declared(request: pytest.FixtureRequest) -> tuple[str, program.Engine]:
    return request.param.name, program.run_file(request.param)


Declared = tuple[str, program.Engine]


def test_the_resources_are_these(declared: Declared) -> None:
    name, engine = declared
    assert engine.counts() == COUNTS[name]


def test_a_preview_that_knows_nothing_yet_asks_for_the_same(declared: Declared) -> None:
    name, _ = declared
    preview = program.run_file(program.PROJECT / "stacks" / name, preview=True)
    assert preview.counts() == COUNTS[name]


def test_everything_has_a_parent_and_the_service_is_the_only_one_at_the_top(declared: Declared) -> None:
    _, engine = declared
    known = {one.urn for one in engine.asked}
    top = [one.type for one in engine.asked if one.parent not in known]
    assert top == ["cygnet:index:Service"]


def test_every_component_registers_outputs_once_it_is_complete(declared: Declared) -> None:
    _, engine = declared
    components = [one for one in engine.asked if not one.custom]
    assert len(components) == sum(one.type.startswith("cygnet:index:") for one in engine.asked)
    for one in components:
        assert engine.outputs.get(one.urn), one.type


def test_no_two_resources_have_the_same_name(declared: Declared) -> None:
    _, engine = declared
    urns = [one.urn for one in engine.asked]
    assert len(set(urns)) == len(urns)


def test_the_stack_tells_what_live_tests_and_operators_need(declared: Declared) -> None:
    _, engine = declared
    outputs, _ = engine.stack_outputs()
    assert set(outputs) == {
        "url", "accounts", "certificate_authority", "inventory", "private_key", "kubeconfig", "parts",
    }  # fmt: skip
    assert set(outputs["parts"]) == {
        "machines", "registry", "cluster", "storage", "software", "cvmfs", "auth", "eos", "health", "hub", "login",
        "files", "monitor", "spark", "gateway", "gpu",
    }  # fmt: skip
    assert outputs["certificate_authority"].startswith("-----BEGIN CERTIFICATE-----")


def test_what_opens_doors_is_secret_and_the_rest_can_be_read(declared: Declared) -> None:
    _, engine = declared
    _, secret = engine.stack_outputs()
    assert secret == {"accounts", "private_key", "kubeconfig"}


def test_no_secret_stands_where_it_is_not_encrypted(declared: Declared) -> None:
    """Neither in an input of a resource, nor in an output of a component or of the stack."""
    _, engine = declared
    outputs, _ = engine.stack_outputs()
    values = {*outputs["accounts"].values(), outputs["private_key"], outputs["kubeconfig"]}
    values |= {one.inputs["variables"]["eos_keytab"].strip() for one in engine.of("Playbook") if one.name == "eos"}
    values |= {value for one in engine.of("Secret") for value in one.inputs["stringData"].values()}
    values -= {outputs["certificate_authority"], ""} | {
        value for value in values if value.startswith("-----BEGIN CERTIFICATE")
    }
    assert len(values) >= 7
    for one in engine.asked:
        open_inputs = {key: value for key, value in one.inputs.items() if key not in one.secret_inputs}
        assert not found_in(values, open_inputs), one.urn
    for urn, told in engine.outputs.items():
        open_outputs = {key: value for key, value in told.items() if key not in engine.secret_outputs[urn]}
        assert not found_in(values, open_outputs), urn


def found_in(values: set[str], where: Any) -> list[str]:
    text = json.dumps(where, default=str)
    return [value for value in values if json.dumps(value)[1:-1] in text]


def test_pods_keep_to_the_level_that_their_namespace_enforces(declared: Declared) -> None:
    _, engine = declared
    levels = {
        one.inputs["metadata"]["name"]: one.inputs["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for one in engine.of("Namespace")
    }
    pods = program.pods(engine)
    assert {"hub", "proxy", "session-image", "gateway"} <= {pod.name for pod in pods}
    for pod in pods:
        assert careless(pod.spec) == [], pod.name
        assert levels[pod.namespace] == "privileged" or violations(pod.spec) == [], pod.name


def test_every_pod_finds_what_it_mounts_and_who_it_is(declared: Declared) -> None:
    _, engine = declared
    there = {
        (one.type.rpartition(":")[2], one.inputs["metadata"].get("namespace"), one.inputs["metadata"]["name"])
        for one in engine.asked
        if one.type.startswith("kubernetes:")
    }
    kinds = {
        "configMap": ("ConfigMap", "name"),
        "secret": ("Secret", "secretName"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    for pod in program.pods(engine):
        if account := pod.spec.get("serviceAccountName"):
            assert ("ServiceAccount", pod.namespace, account) in there, pod.name
        for volume in pod.spec["volumes"]:
            for key, (kind, field) in kinds.items():
                if key in volume:
                    assert (kind, pod.namespace, volume[key][field]) in there, (pod.name, volume)
        volumes = {volume["name"] for volume in pod.spec["volumes"]}
        mounted = {mount["name"] for one in pod.containers for mount in one.get("volumeMounts", [])}
        assert mounted == volumes, pod.name


def test_services_select_pods_that_listen_there(declared: Declared) -> None:
    _, engine = declared
    pods = program.pods(engine)
    for service in (one.inputs for one in engine.of("Service") if one.custom):
        selector = service["spec"]["selector"].items()
        chosen = [
            pod for pod in pods if pod.namespace == service["metadata"]["namespace"] and selector <= pod.labels.items()
        ]
        assert len(chosen) == 1, service["metadata"]
        listens = {port["containerPort"] for one in chosen[0].containers for port in one["ports"]}
        assert {port.get("targetPort", port["port"]) for port in service["spec"]["ports"]} <= listens


def test_every_namespace_has_a_policy_for_its_pods(declared: Declared) -> None:
    """The storage provisioner excepted: nobody connects to it, and it connects to the API server."""
    _, engine = declared
    policies = [one.inputs for one in engine.of("NetworkPolicy")]
    for pod in program.pods(engine):
        chosen = [
            policy
            for policy in policies
            if policy["metadata"]["namespace"] == pod.namespace
            and policy["spec"]["podSelector"].get("matchLabels", {}).items() <= pod.labels.items()
        ]
        assert chosen or pod.namespace == "storage", pod.name

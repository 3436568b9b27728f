"""The service in a cluster that is there: what it asks for, and what such a stack has to say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.cluster import ClusterConfig
from components.config import ConfigError, parse
from components.errors import CygnetError
from components.existing_cluster import kubeconfig
from tests.unit import program
from tests.unit.manifests import careless

FILE = program.PROJECT / "stacks/Pulumi.managed.yaml"
CONFIG: dict[str, Any] = yaml.safe_load(FILE.read_text())["config"]
LOGIN = {"address": "registry.example.org/analysis", "username": "robot", "password": "s3cret"}
CERN = {"servers": ["http://s1.example.org/cvmfs"], "public_keys": ["-----BEGIN PUBLIC KEY-----\n"]}


def run(**parts: dict[str, Any]) -> program.Engine:
    edited = {f"cygnet:{part}": {**CONFIG.get(f"cygnet:{part}", {}), **keys} for part, keys in parts.items()}
    return program.run("managed", {**CONFIG, **edited})


@pytest.fixture(scope="module")
def managed() -> program.Engine:
    return run(cvmfs={"repositories": {"sft.cern.ch": CERN}})


# What a stack may say


@pytest.mark.parametrize(
    ("part", "keys", "said"),
    [
        ("registry", {"address": None}, "registry.address says where images are brought"),
        ("storage", {"storage_class": None}, "storage.storage_class names that of volumes"),
        ("eos", {"client": "xrdmount"}, "eos.client is none"),
        ("software", {"releases": ["stable"]}, "software.releases is"),
        ("machines", {"source": "local"}, "machines have no place"),
        ("cvmfs", {"client": "cvmfs2"}, "cvmfs.client is swfs"),
    ],
)
def test_what_needs_machines_is_refused_before_anything_is_made(part: str, keys: dict[str, Any], said: str) -> None:
    document = {key.removeprefix("cygnet:"): value for key, value in CONFIG.items()}
    with pytest.raises(ConfigError, match=said):
        parse({**document, part: {**document.get(part, {}), **keys}}, "f")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"registry": {"address": "r.example.org"}}, "registry is for cluster.source existing"),
        ({"cluster": {"kubeconfig": "k"}}, "kubeconfig is for source existing"),
        ({"storage": {"storage_class": "fast", "folder": "/srv/x"}}, "storage_class is in place of folder"),
    ],
)
def test_what_is_for_such_a_cluster_is_refused_elsewhere(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(document, "f")


def test_a_kubeconfig_that_cannot_be_read_is_told_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(CygnetError, match=r"none cannot be read: .* Set KUBECONFIG, or keep it with the stack"):
        kubeconfig(ClusterConfig(source="existing"))
    (tmp_path / "none").write_text("there")
    assert kubeconfig(ClusterConfig(source="existing")) == "there"
    assert kubeconfig(ClusterConfig.model_validate({"source": "existing", "kubeconfig": "given"})) == "given"
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/none:{tmp_path}/another")
    with pytest.raises(CygnetError, match=r"names several files .*: export KUBECONFIG=FILE"):
        kubeconfig(ClusterConfig(source="existing"))


# What is declared


def test_nothing_is_done_to_machines(managed: program.Engine) -> None:
    assert not {"Playbook", "Member", "LocalMachine", "LocalNetwork"} & {
        one.type.rpartition(":")[2] for one in managed.asked
    }
    assert managed.stack_outputs()[0]["inventory"] == []


def test_no_pod_asks_for_a_control_plane_which_clouds_do_not_give(managed: program.Engine) -> None:
    assert [pod.name for pod in program.pods(managed) if "nodeSelector" in pod.spec] == []


def test_users_come_by_a_load_balancer_and_by_the_name_that_leads_to_it(managed: program.Engine) -> None:
    service = managed.one("Service", "gateway").inputs
    assert {port["port"]: port["targetPort"] for port in service["spec"]["ports"]} == {443: 8443, 80: 8080}
    assert managed.stack_outputs()[0]["url"] == "https://analysis.example.org"
    assert "203.0.113.9" in managed.one("Secret", "gateway").inputs["stringData"]["caddy.json"]
    nameless = run(gateway={"hostname": None})
    assert nameless.stack_outputs()[0]["url"] == "https://203.0.113.9"


def test_what_is_alike_everywhere_is_so_here() -> None:
    auth = {"kind": "keycloak", "keycloak": {}}
    engine = run(gateway={"trusted_proxies": ["198.51.100.0/24"]}, auth=auth)
    told = yaml.safe_load(engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    assert "198.51.100.0/24" in told["trusted_proxies"]
    assert "realm" in engine.stack_outputs()[1]
    assert [pod.name for pod in program.pods(engine) if "nodeSelector" in pod.spec] == []


def test_the_gateway_needs_nothing_of_its_machine(managed: program.Engine) -> None:
    (gateway,) = (pod for pod in program.pods(managed) if pod.name == "gateway")
    assert careless(gateway.spec) == []
    assert [port for one in gateway.containers for port in one["ports"] if "hostPort" in port] == []


def test_the_hub_may_go_to_the_api_where_it_is(managed: program.Engine) -> None:
    policy = managed.one("NetworkPolicy", "hub").inputs["spec"]
    assert {
        "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
        "ports": [{"protocol": "TCP", "port": 443}],
    } in policy["egress"]


def test_sessions_may_not_go_to_private_networks(managed: program.Engine) -> None:
    egress = managed.one("NetworkPolicy", "sessions").inputs["spec"]["egress"]
    (outside,) = (rule["to"][0]["ipBlock"]["except"] for rule in egress if "ipBlock" in rule["to"][0])
    assert outside == ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]


def test_homes_are_volumes_of_the_class_that_is_there(managed: program.Engine) -> None:
    told = yaml.safe_load(managed.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])["sessions"]
    assert told["home"] == {"storage_class": "shared", "size_gib": 10}
    assert not managed.of("StorageClass")


def test_repositories_are_mounted_by_a_privileged_pod_on_every_machine(managed: program.Engine) -> None:
    (pod,) = (pod for pod in program.pods(managed) if pod.namespace == "cvmfs")
    (client,) = pod.containers
    mounts = {mount["name"]: mount for mount in client["volumeMounts"]}
    assert mounts["repositories"]["mountPropagation"] == "Bidirectional"
    assert client["securityContext"]["privileged"]
    assert pod.spec["tolerations"] == [{"operator": "Exists"}]
    files = managed.one("ConfigMap", "cvmfs").inputs["data"]
    told = json.loads(files["sft.cern.ch.json"])
    assert (told["servers"], told["proxies"], told["quota_mib"]) == (CERN["servers"], ["DIRECT"], 10240)
    assert [files[Path(key).name] for key in told["public_keys"]] == CERN["public_keys"]
    namespaces = {one.name: one.inputs["metadata"]["labels"] for one in managed.of("Namespace")}
    assert {name for name, labels in namespaces.items() if "privileged" in labels.values()} == {"cvmfs"}


# Images


def test_images_go_into_the_registry_that_is_there(managed: program.Engine) -> None:
    for image in managed.of("Image"):
        assert image.inputs["reference"].startswith(f"registry.example.org/analysis/{image.name}:")
        assert image.inputs["pushed_to"] == "registry.example.org/analysis"
        assert not image.deleted_with


def test_who_needs_a_login_for_images_has_it_in_every_namespace() -> None:
    engine = run(registry=LOGIN)
    namespaces = {one.name for one in engine.of("Namespace")}
    logins = {one.name: one for one in engine.of("Secret") if one.inputs.get("type", "").endswith("dockerconfigjson")}
    assert {name.removesuffix("-registry") for name in logins} == namespaces
    assert all("stringData" in one.secret_inputs for one in logins.values())
    patched = {one.name.removesuffix("-registry") for one in engine.of("ServiceAccountPatch")}
    assert patched == namespaces
    assert engine.one("ServiceAccount", "hub").inputs["imagePullSecrets"] == [{"name": "registry"}]
    assert not run().of("ServiceAccountPatch")

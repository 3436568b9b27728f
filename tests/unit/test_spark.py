"""Clusters for Spark: what a stack may say, what the hub makes of it for a session, and what Kubernetes is told.

What Kubernetes then refuses is in tests/machines/test_spark.py.
"""

import importlib
from types import ModuleType
from typing import Any

import pytest
import yaml

from components import spark, spark_config, spark_policies
from components.config import ConfigError, parse
from components.policies import SESSIONS_NAMESPACE
from components.sign_in.rights import RightsConfig
from components.spark import hub_settings
from components.spark_config import SparkConfig
from tests.unit import program
from tests.unit.manifests import violations

HERE: dict[str, Any] = {"kind": "kubernetes", "executors": {"max": 3, "cores": 2, "memory_gib": 2}}
IMAGE = "r/cygnet/session:1"
SECRET = b"sixteen bytes of secret and more"


@pytest.fixture
def executors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The hub's own Python, which reads what we write."""
    monkeypatch.syspath_prepend(str(program.PROJECT / "images/hub"))
    return importlib.import_module("cygnet_hub.executors")


def clusters() -> ModuleType:
    """Likewise, what all kinds have in common."""
    return importlib.import_module("cygnet_hub.clusters")


def drivers() -> ModuleType:
    """Likewise, what Spark itself is told."""
    return importlib.import_module("cygnet_hub.drivers")


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    """A stack with a cluster."""
    return program.run("site", {"cygnet:spark": {"clusters": {"here": HERE}}})


def told(features: dict[str, tuple[str, ...]] | None = None, **clusters: Any) -> dict[str, Any]:
    """What the hub is told of clusters."""
    return hub_settings(
        SparkConfig(clusters=clusters or {"here": HERE}),
        "s.example",
        RightsConfig(features=features or {}),
        api_servers=["10.0.0.1"],
        api_port=6443,
    )


def sessions_pod(**labels: str) -> dict[str, Any]:
    """A session's pod, as far as it matters."""
    variables = {"HOME": "/eos/user/a/ada", "USER": "ada", "CYGNET_PROCESSES": "500"}
    container = {
        "image": IMAGE,
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "securityContext": {"runAsUser": 70001, "runAsGroup": 100},
    }
    named = {"hub.jupyter.org/username": "ada", **labels}
    metadata = {"name": "session-ada", "namespace": SESSIONS_NAMESPACE, "labels": named}
    return {"metadata": metadata, "spec": {"containers": [container]}}


def made(executors: ModuleType, features: dict[str, tuple[str, ...]] | None = None) -> dict[str, list[dict[str, Any]]]:
    """What is made for a session, by kind."""
    settings = told(features)
    cluster = clusters().KubernetesCluster(**settings["clusters"][0])
    owner = clusters().Owner.of(sessions_pod())
    found: dict[str, list[dict[str, Any]]] = {}
    for step in executors.made(cluster, owner, clusters().SparkSettings(**settings["spark"]), SECRET):
        for kind, body in step:
            found.setdefault(kind, []).append(body)
    return found


# What a stack says


@pytest.mark.parametrize(
    ("clusters", "finding"),
    [
        ({"here": {"kind": "mesos"}}, "cygnet:spark.clusters.here.kind"),
        ({"here": {}}, "cygnet:spark.clusters.here.kind"),
        ({"none": HERE}, "is the choice of no cluster"),
        ({"Here": HERE}, "cygnet:spark.clusters"),
        ({"here": {**HERE, "executors": {"max": 0}}}, "clusters.here.executors.max"),
        ({"here": {**HERE, "executors": {"memory_gib": 0.5}}}, "clusters.here.executors.memory_gib"),
        ({"here": {**HERE, "executors": {"cores": 1, "cores_guaranteed": 2}}}, "is more than cores"),
        ({"here": {**HERE, "executers": {}}}, "did you mean 'executors'"),
        ({"here": {**HERE, "history_days": 0}}, "clusters.here.history_days"),
        ({"here": {**HERE, "bundles": {"More memory": {"executor.memory": "3g"}}}}, "bundles.More memory"),
        (
            {"here": {**HERE, "bundles": {"More memory": {"spark.executor.memory": "3g\nspark.master local"}}}},
            "bundles",
        ),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(clusters: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parse({"spark": {"clusters": clusters}}, "a file")


@pytest.mark.parametrize("lacking", [{"eos": {"client": "none"}}, {"software": {"releases": []}}])
def test_executors_need_homes_and_software(lacking: dict[str, Any]) -> None:
    parse({"spark": {"clusters": {"here": HERE}}}, "a file")
    with pytest.raises(ConfigError, match="need homes on EOS and a software release"):
        parse({"spark": {"clusters": {"here": HERE}}, **lacking}, "a file")


def test_a_cluster_may_be_for_groups() -> None:
    features = {"features": {"here": ["atlas"]}}
    parse({"spark": {"clusters": {"here": HERE}}, "auth": {"groups": {"atlas": []}, "rights": features}}, "a file")
    assert told({"here": ("atlas",)})["clusters"][0]["groups"] == ["atlas"]


def test_without_a_cluster_nothing_is_made() -> None:
    engine = program.run("site", {})
    assert not [one.name for one in engine.asked if one.name.startswith("spark-")]
    settings = yaml.safe_load(engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    assert not {"spark", "clusters"} & settings["sessions"].keys()
    assert "spark" not in engine.one("Publication", "software").inputs["releases"]


# What is declared


def test_software_has_spark_where_there_is_a_cluster(declared: program.Engine) -> None:
    assert set(declared.one("Publication", "software").inputs["releases"]) == {"stable", "bleeding", "spark"}


@pytest.mark.usefixtures("executors")
def test_the_hub_is_told_and_understands(declared: program.Engine) -> None:
    text = declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]
    settings = importlib.import_module("cygnet_hub.settings").Settings.model_validate(yaml.safe_load(text))
    (cluster,) = settings.sessions.clusters
    assert isinstance(cluster, clusters().Cluster)
    assert (cluster.max, cluster.cores, cluster.cores_guaranteed, cluster.memory_gib) == (3, 2, 0.2, 2)
    assert settings.sessions.spark.view == "/cvmfs/software.cygnet.internal/spark"


def test_both_sides_name_the_same(executors: ModuleType) -> None:
    config = importlib.import_module("cygnet_hub.config")
    assert (spark_config.NONE, spark_policies.PREFIX, spark.DRIVER_ROLE) == (
        clusters().NONE,
        clusters().PREFIX,
        executors.DRIVER_ROLE,
    )
    assert {executors.PART: clusters().OPTION} == spark.LABELS
    assert (executors.UID, config.GROUP_ID) == (spark_policies.UID_LABEL, spark_policies.GROUP_ID)
    assert tuple(executors.FOLDERS.values()) == spark_policies.FOLDERS


def test_nobody_may_more_than_is_needed(declared: program.Engine) -> None:
    driver = {(one["resources"][0], verb) for one in spark.DRIVER_RULES for verb in one["verbs"]}
    assert {resource for resource, _ in driver} == {"pods", "pods/log"}
    assert not {verb for _, verb in driver} & {"update", "patch", "*"}
    hub = {resource for one in spark.HUB_RULES for resource in one["resources"]}
    assert "pods" not in hub
    assert all("get" not in one["verbs"] for one in spark.HUB_RULES if "secrets" in one["resources"])
    bindings = [one for one in declared.of("ValidatingAdmissionPolicyBinding") if one.name.startswith("spark-")]
    assert [one.inputs["spec"]["validationActions"] for one in bindings] == [["Deny"], ["Deny"]]


# What is made for a session


def test_a_namespace_is_of_one_session(executors: ModuleType) -> None:
    first, second = (made(executors)["Namespace"][0]["metadata"] for _ in range(2))
    assert first["name"] != second["name"]
    assert first["labels"] == second["labels"] == {
        "cygnet.io/part": "spark",
        "cygnet.io/owner": "ada",
        "cygnet.io/uid": "70001",
        "pod-security.kubernetes.io/enforce": "restricted",
    }  # fmt: skip


def test_limits_are_there_before_rights(executors: ModuleType) -> None:
    settings = told()
    steps = executors.made(
        clusters().KubernetesCluster(**settings["clusters"][0]),
        clusters().Owner.of(sessions_pod()),
        clusters().SparkSettings(**settings["spark"]),
        SECRET,
    )
    kinds = [{kind for kind, _ in step} for step in steps]
    assert kinds[0] == {"Namespace"}
    assert kinds[-1] == {"RoleBinding"}
    assert {"ResourceQuota", "NetworkPolicy"} <= kinds[1]


def test_a_quota_is_all_that_a_user_may_have(executors: ModuleType) -> None:
    (quota,) = made(executors)["ResourceQuota"]
    hard = quota["spec"]["hard"]
    assert (hard["pods"], hard["limits.cpu"], hard["limits.memory"]) == ("3", "6", "6144Mi")
    assert hard["limits.ephemeral-storage"]


def test_an_executor_is_as_the_session_is(executors: ModuleType) -> None:
    (_, given) = made(executors)["Secret"]
    pod = yaml.safe_load(given["stringData"]["executor.yaml"])
    assert not violations(pod["spec"])
    assert pod["spec"]["securityContext"]["runAsUser"] == 70001
    assert {one["tolerationSeconds"] for one in pod["spec"]["tolerations"]} == {10}
    (container,) = pod["spec"]["containers"]
    assert {one["name"]: one["value"] for one in container["env"]} == {
        "HOME": "/eos/user/a/ada", "USER": "ada", "CYGNET_PROCESSES": "500",
    }  # fmt: skip
    assert {"/cvmfs", "/eos"} <= {mount["mountPath"] for mount in container["volumeMounts"]}
    assert SECRET.decode() not in given["stringData"]["executor.yaml"] + given["stringData"]["spark-defaults.conf"]


def test_spark_is_told_to_be_careful(executors: ModuleType) -> None:
    (_, given) = made(executors)["Secret"]
    lines = dict(line.split(" ", 1) for line in given["stringData"]["spark-defaults.conf"].splitlines())
    for key in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert lines[key] == "true"
    assert lines["spark.kubernetes.container.image"] == IMAGE
    assert lines["spark.dynamicAllocation.maxExecutors"] == "3"
    sizes = [int(lines[f"spark.executor.{key}"].removesuffix("m")) for key in ("memory", "memoryOverhead")]
    assert sum(sizes) == 2048
    # Less than this, and Spark does not start.
    assert drivers().HEAP * 1024 > 450


def test_sparkconnector_offers_what_the_stack_has(executors: ModuleType) -> None:
    settings = told(here={**HERE, "bundles": {"Few partitions": {"spark.sql.shuffle.partitions": "3"}}})
    cluster = clusters().KubernetesCluster(**settings["clusters"][0])
    options = [{"name": "spark.sql.shuffle.partitions", "value": "3"}]
    assert drivers().bundles(cluster.bundles) == {"bundled_options": {"Few partitions": {"options": options}}}
    (_, given) = made(executors)["Secret"]
    assert given["stringData"]["sparkconnector_bundles.json"] == '{"bundled_options": {}}'


@pytest.mark.usefixtures("executors")
def test_drivers_leave_a_history_where_a_stack_wants_one() -> None:
    owner = clusters().Owner.of(sessions_pod())
    without, kept = (
        drivers().defaults(clusters().KubernetesCluster(**told(here=HERE | more)["clusters"][0]), owner)
        for more in ({}, {"history_days": 30})
    )
    assert not [key for key in without if key.startswith(("spark.eventLog", "spark.history"))]
    assert kept["spark.eventLog.dir"] == kept["spark.history.fs.logDirectory"]
    assert kept["spark.eventLog.dir"] == "file:///eos/user/a/ada/.local/share/spark-history"
    assert kept["spark.history.fs.cleaner.maxAge"] == "30d"


def test_executors_and_drivers_talk_to_each_other_only(executors: ModuleType) -> None:
    there, here = (one["spec"] for one in made(executors)["NetworkPolicy"])
    session = {"hub.jupyter.org/username": "ada"}
    peers = [peer for rule in there["egress"][1:] + there["ingress"] for peer in rule.get("to", rule.get("from", []))]
    assert all(peer == {"podSelector": {}} or peer["podSelector"]["matchLabels"] == session for peer in peers)
    assert not [rule for rule in there["egress"] if "ipBlock" in str(rule)]
    assert here["podSelector"]["matchLabels"] == session
    assert here["egress"][1] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}],
        "ports": [{"protocol": "TCP", "port": 6443}],
    }  # fmt: skip


@pytest.mark.usefixtures("executors")
def test_a_choice_of_the_start_page() -> None:
    page = importlib.import_module("cygnet_hub.choices")
    settings = importlib.import_module("cygnet_hub.settings")
    sessions = settings.Sessions(
        image=IMAGE, size={"cores": 1, "memory_gib": 1}, eos_claim="eos", cvmfs_claim="cvmfs", **told()
    )
    ((profile),) = page.start_page(sessions)
    choices = profile["profile_options"]["spark"]["choices"]
    assert [(name, one.get("default", False)) for name, one in choices.items()] == [("none", True), ("here", False)]
    assert page.titles(sessions)["spark"] == {"none": "None", "here": "Spark on this service"}
    hooks = importlib.import_module("cygnet_hub.spark").hooks
    assert set(hooks(sessions.spark, sessions.clusters)) == {"modify_pod_hook", "post_stop_hook"}
    assert hooks(None, ()) == {}
    with pytest.raises(ValueError, match="clusters need spark"):
        settings.Sessions(image=IMAGE, size={"cores": 1, "memory_gib": 1}, eos_claim="e", clusters=told()["clusters"])
    assert clusters().NONE == "none"

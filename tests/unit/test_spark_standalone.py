"""Standalone clusters for Spark: what a stack may say, what runs them, and what a session of one is given."""

from typing import Any

import pytest
import yaml

from components import spark_config, spark_standalone
from components.config import ConfigError, parse
from components.policies import SESSIONS_NAMESPACE
from components.sign_in.rights import RightsConfig
from components.sign_in.user_ids import user_id
from components.spark import hub_settings
from components.spark_config import SparkConfig, StandaloneConfig
from tests.unit import manifests, program
from tests.unit.hubs import hubs

TEAM: dict[str, Any] = {
    "kind": "standalone",
    "executors": {"max": 3, "cores": 1, "memory_gib": 2},
    "standalone": {"workers": 2, "cores": 4, "memory_gib": 8, "machines": "example.org/spark", "account": "robot"},
}
AUTH: dict[str, Any] = {
    "accounts": ["ada", "robot"],
    "groups": {"team": ["ada"]},
    "rights": {"features": {"team": ["team"]}},
}
SECRET = "of all who are in the team"  # noqa: S105 - of this test alone


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    """A stack with such a cluster."""
    return program.run("site", {"cygnet:spark": {"clusters": {"team": TEAM}}, "cygnet:auth": AUTH})


def parsed(changes: dict[str, Any], auth: dict[str, Any] = AUTH) -> Any:
    """A stack file whose cluster is another one in these."""
    return parse({"spark": {"clusters": {"team": {**TEAM, **changes}}}, "auth": auth}, "a file")


def sessions_pod() -> dict[str, Any]:
    """A session's pod, as far as it matters."""
    variables = [{"name": "HOME", "value": "/eos/user/a/ada"}, {"name": "USER", "value": "ada"}]
    security = {"runAsUser": 70001, "runAsGroup": 100}
    metadata = {"name": "session-ada", "namespace": SESSIONS_NAMESPACE, "labels": {"hub.jupyter.org/username": "ada"}}
    return {
        "metadata": metadata,
        "spec": {"containers": [{"image": "r/session:1", "env": variables, "securityContext": security}]},
    }


# What a stack says


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"standalone": None}, "kind standalone needs standalone"),
        ({"kind": "kubernetes"}, "standalone is for kind standalone only"),
        ({"executors": {"cores": 8}}, r"executors.cores \(8\) is more than a worker has"),
        ({"executors": {"memory_gib": 9}}, r"executors.memory_gib \(9\) is more than a worker has"),
        ({"executors": {"cores_guaranteed": 0.5}}, "cores_guaranteed is for kind kubernetes only"),
        ({"standalone": {"workers": 1, "cores": 40, "memory_gib": 200}}, "has room for 40 executors, and ports for 16"),
        ({"standalone": {"workers": 0}}, "clusters.team.standalone.workers"),
        ({"standalone": {"machines": "spark"}}, "clusters.team.standalone.machines"),
        ({"standalone": {"acount": "robot"}}, "did you mean 'account'"),
        ({"standalone": {**TEAM["standalone"], "account": "eve"}}, "names no eve"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(changes: dict[str, Any], finding: str) -> None:
    assert parsed({}).spark.standalone["team"].workers == 2
    with pytest.raises(ConfigError, match=finding):
        parsed(changes)


def test_a_cluster_is_of_a_group() -> None:
    with pytest.raises(ConfigError, match=r"users are not kept apart; say whose it is in auth\.rights\.features\.team"):
        parsed({}, {**AUTH, "rights": {}})


# What runs it


def test_daemons_are_as_careful_as_all_pods(declared: program.Engine) -> None:
    for what in ("master", "worker"):
        pod = declared.one("Deployment", f"spark-team-{what}").inputs["spec"]["template"]["spec"]
        assert not manifests.violations(pod)
        assert not manifests.careless(pod)


def test_workers_are_on_their_machines_and_nobody_else(declared: program.Engine) -> None:
    spec = declared.one("Deployment", "spark-team-worker").inputs["spec"]
    pod = spec["template"]["spec"]
    assert spec["replicas"] == 2
    wanted = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert wanted == [{"matchExpressions": [{"key": "example.org/spark", "operator": "Exists"}]}]
    assert {"key": "example.org/spark", "operator": "Exists"} in pod["tolerations"]
    assert pod["securityContext"]["runAsUser"] == user_id("robot")
    (daemon,) = pod["containers"]
    assert daemon["resources"]["limits"] | {"ephemeral-storage": ""} == {
        "cpu": "4", "memory": "8704Mi", "ephemeral-storage": "",
    }  # fmt: skip
    # Of 8 GiB four executors of 2 GiB: what is given out is what Java may have, and executors ask for that part.
    words = daemon["args"]
    assert words[words.index("--cores") + 1] == "4"
    assert int(words[words.index("--memory") + 1].removesuffix("m")) // round(2 * 1024 * spark_standalone.HEAP) == 4
    assert words[-1] == "spark://team.spark.svc:7077"


def test_without_an_account_executors_have_nothing_of_eos() -> None:
    config = StandaloneConfig()
    claims = {"cvmfs": "a", "eos": "b"}
    spec = spark_standalone.worker_spec("team", config, image="i", started_with="x", claims=claims, view="/cvmfs/s")
    pod = spec["template"]["spec"]
    assert {"cvmfs"} == {volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume}
    assert "affinity" not in pod


def test_a_master_that_is_started_anew_knows_what_was(declared: program.Engine) -> None:
    spec = declared.one("Deployment", "spark-team-master").inputs["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    settings = spark_standalone.daemon_settings(SECRET)
    (daemon,) = spec["template"]["spec"]["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in daemon["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert volumes[mounts[settings["spark.deploy.recoveryDirectory"]]]["persistentVolumeClaim"]["claimName"] == "team"
    assert declared.one("PersistentVolumeClaim", "spark-team").inputs["metadata"]["name"] == "team"
    for key in ("spark.authenticate", "spark.network.crypto.enabled"):
        assert settings[key] == "true"


def test_its_secret_is_one(declared: program.Engine) -> None:
    told = declared.one("Secret", "spark-team")
    hub = declared.one("Secret", "hub")
    (line,) = [line for line in told.inputs["stringData"]["daemon.conf"].splitlines() if "secret" in line]
    assert line.split() == ["spark.authenticate.secret", hub.inputs["stringData"]["spark-team"]]
    assert "stringData" in told.secret_inputs & hub.secret_inputs


def test_whoever_has_it_reaches_it_and_nobody_else(declared: program.Engine) -> None:
    spec = declared.one("NetworkPolicy", "spark-team").inputs["spec"]
    sessions = {"kubernetes.io/metadata.name": "sessions"}
    peers = [peer for rule in spec["ingress"] + spec["egress"][1:] for peer in rule.get("from", rule.get("to"))]
    assert all(peer["podSelector"]["matchLabels"] == {"cygnet.io/spark": "team"} for peer in peers)
    assert all(peer["namespaceSelector"]["matchLabels"] == sessions for peer in peers if "namespaceSelector" in peer)
    ports = {port["port"] for rule in spec["ingress"] for port in rule["ports"]}
    assert spark_standalone.PAGE_PORT not in ports


def test_both_sides_name_the_same() -> None:
    clusters, drivers, standalone = hubs("clusters"), hubs("drivers"), hubs("standalone")
    assert (spark_standalone.NAMESPACE, spark_standalone.MASTER_PORT) == (standalone.NAMESPACE, standalone.MASTER_PORT)
    assert spark_standalone.CLUSTER_LABEL == clusters.CLUSTER
    assert drivers.DRIVER_PORTS == spark_standalone.DRIVER_PORTS
    assert (drivers.EXECUTOR_PORT, drivers.PORTS) == spark_config.EXECUTOR_PORTS
    assert drivers.HEAP == spark_standalone.HEAP


# What a session is given


def told(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """What the hub makes for a session, by kind, with the secret that it has as a file."""
    spark = hubs("spark")
    monkeypatch.setattr(spark, "KEYS", tmp_path)
    (tmp_path / "spark-team").write_text(SECRET + "\n")
    config = SparkConfig.model_validate({"clusters": {"team": TEAM}})
    rights = RightsConfig(features={"team": ("team",)})
    settings = hub_settings(config, "s.example", rights, api_servers=["10.0.0.1"], api_port=6443)
    sessions = {"image": "i", "size": {"cores": 1, "memory_gib": 1}, "eos_claim": "eos", "cvmfs_claim": "cvmfs"}
    read = hubs("settings").Sessions(**sessions, **settings)
    (cluster,) = read.clusters
    assert cluster.groups == ("team",)
    (step,) = spark.made(cluster, hubs("clusters").Owner.of(sessions_pod()), read.spark)
    return dict(step)


def test_a_session_is_told_of_its_cluster(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = told(tmp_path, monkeypatch)
    assert set(made) == {"NetworkPolicy", "Secret"}, "and no right of Kubernetes'"
    files = made["Secret"]["stringData"]
    lines = dict(line.split(" ", 1) for line in files["spark-defaults.conf"].splitlines())
    assert lines["spark.master"] == "spark://team.spark.svc:7077"
    assert lines["spark.authenticate.secret"] == SECRET
    assert lines["spark.cores.max"] == "3"
    assert lines["spark.executorEnv.JAVA_HOME"] == "@CYGNET_SPARK@/executors"
    assert not [key for key in lines if key.startswith("spark.kubernetes")]
    assert files["daemons"] == "/cvmfs/s.example/spark"


def test_only_sessions_of_the_cluster_have_a_way_to_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = told(tmp_path, monkeypatch)["NetworkPolicy"]["spec"]
    assert spec["podSelector"]["matchLabels"] == {"hub.jupyter.org/username": "ada", "cygnet.io/spark": "team"}
    (way,), (back,) = spec["egress"], spec["ingress"]
    (daemons,) = way["to"]
    assert daemons["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "spark"}
    assert daemons["podSelector"]["matchLabels"] == {"cygnet.io/spark": "team"}
    assert back["from"] == way["to"]


def test_a_hub_that_does_not_know_the_secret_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    spark = hubs("spark")
    assert issubclass(FileNotFoundError, spark.AWAY)
    told(tmp_path, monkeypatch)
    (tmp_path / "spark-team").unlink()
    cluster = hubs("clusters").StandaloneCluster(
        name="team", title="t", kind="standalone", max=1, cores=1, memory_gib=1, master="spark://m:7077"
    )
    with pytest.raises(FileNotFoundError):
        spark.made(cluster, hubs("clusters").Owner.of(sessions_pod()), None)


def test_a_stack_file_reads_as_it_is_written() -> None:
    text = """
    kind: standalone
    standalone: {workers: 2, cores: 4, memory_gib: 8}
    """
    read = SparkConfig.model_validate({"clusters": {"team": yaml.safe_load(text)}})
    assert read.clusters["team"].standalone == StandaloneConfig(workers=2, cores=4, memory_gib=8)

"""Clusters for Spark of a YARN that is there: what a stack may say of it, and what a session of one is given."""

import asyncio
from ipaddress import IPv4Network
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml

from components import spark, spark_policies, spark_standalone, spark_yarn
from components.clouds import openstack_network
from components.config import ConfigError, ServiceConfig, parse
from components.service import openings
from tests.unit import program
from tests.unit.hubs import adas, hubs

LAB: dict[str, Any] = {
    "kind": "yarn",
    "executors": {"max": 5, "cores": 2, "memory_gib": 4},
    "yarn": {
        "core_site": {"fs.defaultFS": "hdfs://lab", "hadoop.security.authentication": "kerberos"},
        "hdfs_site": {"dfs.nameservices": "lab", "dfs.namenode.kerberos.principal": "nn/_HOST@EXAMPLE.ORG"},
        "yarn_site": {
            "yarn.resourcemanager.hostname": "rm.example.org",
            "yarn.resourcemanager.principal": "rm/_HOST@EXAMPLE.ORG",
            "yarn.client.load.resource-types.from-server": True,
        },
        "networks": ["192.0.2.0/25", "192.0.2.128/26"],
        "queue": "root.physics",
    },
}
KERBEROS: dict[str, Any] = {"kind": "kerberos", "kerberos": {"realm": "EXAMPLE.ORG"}}
MANAGER: dict[str, Any] = {"yarn.resourcemanager.hostname": "rm.example.org"}
WITHOUT: dict[str, Any] = {"core_site": {"fs.defaultFS": "hdfs://lab"}, "without_kerberos": True}
TEAM: dict[str, Any] = {
    "accounts": ["ada"], "groups": {"team": ["ada"]}, "rights": {"features": {"lab": ["team"]}},
}  # fmt: skip


def lab(**changes: Any) -> dict[str, Any]:
    """The cluster with another `yarn`; None takes a key away."""
    changed = {**LAB["yarn"], **changes}
    return {**LAB, "yarn": {key: value for key, value in changed.items() if value is not None}}


def parsed(cluster: dict[str, Any], auth: dict[str, Any] = KERBEROS, **more: Any) -> ServiceConfig:
    """A stack file with this cluster."""
    return parse({"spark": {"clusters": {"lab": cluster}}, "auth": auth, **more}, "a file")


# What a stack says


def test_a_stack_file_reads_as_hadoop_writes_it() -> None:
    config = parsed(LAB).spark.yarn["lab"]
    assert config.kerberos
    assert config.hadoop["yarn-site"]["yarn.client.load.resource-types.from-server"] == "true"
    assert set(config.hadoop["hdfs-site"]) == {"dfs.nameservices", "dfs.namenode.kerberos.principal"}


@pytest.mark.parametrize(
    ("cluster", "finding"),
    [
        ({"kind": "yarn"}, "kind yarn needs yarn: where it is"),
        ({**LAB, "kind": "kubernetes"}, "yarn is for kind yarn only"),
        ({**LAB, "standalone": {}}, "standalone is for kind standalone only"),
        ({**LAB, "executors": {"cores": 2, "cores_guaranteed": 1}}, "cores_guaranteed is for kind kubernetes only"),
        (lab(core_site=None), r"yarn\.core_site"),
        (lab(core_site={"hadoop.security.authentication": "kerberos"}), r"core_site has no fs\.defaultFS"),
        (lab(yarn_site={"yarn.acl.enable": True}), "names no resource manager"),
        (lab(hdfs_site={"ssl.client.truststore.password": "x"}), r"hdfs_site has ssl\.client\.truststore\.password"),
        (lab(core_site={**LAB["yarn"]["core_site"], "fs.s3a.secret.key": "x"}), "users can read all of it"),
        (lab(hdfs_site=None), r"nothing says dfs\.namenode\.kerberos\.principal, by which clients"),
        (lab(hdfs_site=None, yarn_site=MANAGER), r"principal nor yarn\.resourcemanager\.principal"),
        (lab(networks=[]), r"yarn\.networks"),
        (lab(networks=["10.244.7.0/24"]), r"networks has 10\.244\.7\.0/24, and the stack itself is there"),
        (lab(networks=["169.254.169.254/32"]), "and the stack itself is there"),
        (lab(networks=["0.0.0.0/0"]), "and the stack itself is there"),
        (lab(netwroks=["192.0.2.0/24"]), "did you mean 'networks'"),
        (lab(queue="physics\nspark.master local"), r"yarn\.queue"),
        (lab(history_server="history.example.org:18080"), "give both"),
        (lab(history_server="history", history_folder="hdfs:///h"), r"yarn\.history_server"),
        ({**lab(history_server="h:18080", history_folder="hdfs:///h"), "history_days": 30}, "remove one of the two"),
        (lab(without_kerberos=True), "is for a Hadoop that has none, and this one has"),
        (lab(core_site={"fs.defaultFS": "hdfs://lab"}), "if that is meant, set without_kerberos: true"),
        (lab(**WITHOUT), r"every user may be any other; say whose it is in auth\.rights\.features\.lab"),
    ],
)
def test_a_cluster_that_cannot_be_is_refused(cluster: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parsed(cluster)


def test_its_networks_are_not_those_of_machines() -> None:
    machines = spark_yarn.fault(
        parsed(LAB).spark.yarn["lab"], "lab", groups=(), sign_in="kerberos", own=(),
        machines=[IPv4Network("192.0.2.130")],
    )  # fmt: skip
    assert machines
    assert "192.0.2.130/32" in machines


def test_a_hadoop_with_kerberos_needs_tickets() -> None:
    with pytest.raises(ConfigError, match=r"no ticket, as auth\.kind is accounts; set auth\.kind: kerberos"):
        parsed(LAB, {})


def test_a_hadoop_that_believes_everybody_is_of_a_group_that_somebody_named() -> None:
    assert not parsed(lab(**WITHOUT), TEAM).spark.yarn["lab"].kerberos
    with pytest.raises(ConfigError, match="say whose it is"):
        parsed(lab(**WITHOUT), {**TEAM, "rights": {}})


# What is let in


def test_clouds_let_in_who_yarn_is_on_every_machine_and_nobody_else() -> None:
    opened = openings(parsed(LAB))
    (own,) = [one for one in opened if one.everywhere]
    assert own.ports == (spark_yarn.NODE_PORTS,)
    rules = openstack_network.rules([IPv4Network("198.51.100.0/24")], opened, behind_router=False)
    ours = {group: [one for one in listed if one.last] for group, listed in rules.items()}
    assert [(str(one.network), one.port, one.last) for one in ours.pop("machines")] == [
        ("192.0.2.0/25", 30000, 32767),
        ("192.0.2.128/26", 30000, 32767),
    ]
    assert not any(ours.values())
    assert not [one for one in openings(parse({}, "a file")) if one.everywhere]


def test_both_sides_name_the_same() -> None:
    yarn, drivers, clusters = hubs("yarn"), hubs("drivers"), hubs("clusters")
    assert yarn.NODE_PORTS == spark_yarn.NODE_PORTS
    assert drivers.DRIVERS_OUTSIDE == spark_yarn.DRIVERS
    assert clusters.USERNAME == spark_policies.USERNAME_LABEL
    assert clusters.CLUSTER == spark_standalone.CLUSTER_LABEL


@pytest.fixture(scope="module")
def declared() -> program.Engine:
    """A stack with such a cluster."""
    return program.run("site", {"cygnet:spark": {"clusters": {"lab": lab(**WITHOUT)}}, "cygnet:auth": TEAM})


def test_nothing_is_made_before_a_session_but_what_the_hub_is_told(declared: program.Engine) -> None:
    assert not [one.name for one in declared.asked if one.name.startswith("spark-lab")]
    settings = yaml.safe_load(declared.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    read = hubs("settings").Settings.model_validate(settings)
    (cluster,) = read.sessions.clusters
    assert (cluster.kind, cluster.groups, cluster.queue) == ("yarn", ("team",), "root.physics")
    assert cluster.networks == ("192.0.2.0/25", "192.0.2.128/26")
    assert cluster.description == "Up to 5 executors with 2 cores and 4 GiB of memory each"


# What a session is given


@pytest.fixture
def cluster() -> Any:
    """It, as the hub has it."""
    config = parsed(lab(history_server="history.example.org:18080", history_folder="hdfs:///spark")).spark
    return hubs("clusters").YarnCluster(**spark.choice("lab", config.clusters["lab"], parsed(LAB).auth.rights))


@pytest.fixture
def owner() -> Any:
    """Ada's session."""
    return adas()


def test_a_session_is_told_of_its_cluster(cluster: Any, owner: Any) -> None:
    made = dict(hubs("spark").made(cluster, owner, None, 30016)[0])
    assert set(made) == {"NetworkPolicy", "Secret"}, "and no right of Kubernetes'"
    files = made["Secret"]["stringData"]
    lines = dict(line.split(" ", 1) for line in files["spark-defaults.conf"].splitlines())
    assert lines["spark.master"] == "yarn"
    assert lines["spark.yarn.queue"] == "root.physics"
    assert lines["spark.yarn.jars"] == "local:@CYGNET_SPARK@/python/pyspark/jars/*"
    assert (lines["spark.driver.port"], lines["spark.driver.blockManager.port"]) == ("30016", "30020")
    assert lines["spark.port.maxRetries"] == "3"
    assert lines["spark.dynamicAllocation.maxExecutors"] == "5"
    assert lines["spark.eventLog.dir"] == "hdfs:///spark"
    assert lines["spark.kerberos.renewal.credentials"] == "ccache"
    assert lines["spark.security.credentials.retryWait"] == "30s"
    assert lines["spark.yarn.historyServer.address"] == "history.example.org:18080"
    sizes = [int(lines[f"spark.executor.{key}"].removesuffix("m")) for key in ("memory", "memoryOverhead")]
    assert sum(sizes) == 4096
    for key in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert lines[key] == "true"
    assert not [key for key in lines if "secret" in key]
    for name, wanted in cluster.hadoop.items():
        found = ElementTree.fromstring(files[f"{name}.xml"]).findall("property")  # noqa: S314 - it is ours
        assert {one.findtext("name"): one.findtext("value") for one in found} == wanted


def test_only_yarn_reaches_a_session_and_only_its_drivers(cluster: Any, owner: Any) -> None:
    spec = dict(hubs("spark").made(cluster, owner, None, 30016)[0])["NetworkPolicy"]["spec"]
    assert spec["podSelector"]["matchLabels"] == {"hub.jupyter.org/username": "ada", "cygnet.io/spark": "lab"}
    machines = [{"ipBlock": {"cidr": "192.0.2.0/25"}}, {"ipBlock": {"cidr": "192.0.2.128/26"}}]
    assert spec["ingress"] == [{"from": machines, "ports": [{"protocol": "TCP", "port": 30016, "endPort": 30023}]}]
    assert spec["egress"] == [{"to": machines, "ports": [{"protocol": "TCP"}]}]


def test_its_ports_are_of_its_own_node(cluster: Any, owner: Any) -> None:
    kind, body = hubs("yarn").service(cluster, owner, 30016)
    spec = body["spec"]
    assert (kind, spec["type"], spec["externalTrafficPolicy"]) == ("Service", "NodePort", "Local")
    assert spec["selector"] == {"hub.jupyter.org/username": "ada", "cygnet.io/spark": "lab"}
    assert body["metadata"] == {"name": "spark-ada-1", "namespace": "sessions", "labels": {"cygnet.io/owner": "ada"}}
    assert [one["nodePort"] for one in spec["ports"]] == list(range(30016, 30024))
    assert all(one["targetPort"] == one["nodePort"] for one in spec["ports"])


def test_a_session_knows_its_node(cluster: Any, owner: Any) -> None:
    clusters = hubs("clusters")
    container = SimpleNamespace(env=[], volume_mounts=[])
    pod = SimpleNamespace(metadata=SimpleNamespace(labels={}), spec=SimpleNamespace(containers=[container], volumes=[]))
    settings = SimpleNamespace(view="/cvmfs/s/spark")
    clusters.given(pod, cluster, owner, settings, "/etc/cygnet/spark")
    assert {"name": "CYGNET_NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}} in container.env


class Kubernetes:
    """As much of its API as gives ports: those of others are taken."""

    def __init__(self, listed: set[int], taken: set[int]) -> None:
        self.listed, self.taken, self.made = listed, taken, []  # type: ignore[var-annotated]

    async def list_namespaced_service(self, _namespace: str, **_: Any) -> Any:
        """What is in the namespace."""
        ports = [SimpleNamespace(node_port=one) for one in self.listed]
        return SimpleNamespace(items=[SimpleNamespace(spec=SimpleNamespace(ports=ports))])

    async def create_namespaced_service(self, _namespace: str, body: Any, **_: Any) -> None:
        """Refuses what is taken."""
        wanted = {one["nodePort"] for one in body["spec"]["ports"]}
        if wanted & (self.listed | self.taken):
            raise hubs("spark").ApiException(status=422)
        self.made.append(wanted)


@pytest.mark.parametrize(("taken", "found"), [(set(), 30064), ({30064}, None)])
def test_ports_that_are_taken_are_not_given_again(
    monkeypatch: pytest.MonkeyPatch, cluster: Any, owner: Any, taken: set[int], found: int | None
) -> None:
    module = hubs("spark")
    first, last = spark_yarn.NODE_PORTS
    api = Kubernetes(set(range(first, last + 1)) - set(range(30064, 30072)), taken)
    monkeypatch.setattr(module, "shared_client", lambda _: api)
    if found is None:
        with pytest.raises(module.Refusal, match="as many sessions with this cluster as can be reached"):
            asyncio.run(module._ports(cluster, owner))
        assert not api.made
    else:
        assert asyncio.run(module._ports(cluster, owner)) == found
        assert api.made == [set(range(30064, 30072))]

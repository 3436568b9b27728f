"""Where executors may go besides: what a stack may name, and that nothing but that is let pass.

That a real Kubernetes refuses the hub what is not named is in tests/machines/test_spark.py.
"""

from typing import Any

import pytest
import yaml

from components.config import ConfigError, ServiceConfig, parse
from components.spark import choice
from components.spark_policies import hub_policy
from tests.unit import program
from tests.unit.hubs import adas, hubs

SITE = [{"network": "192.0.2.0/24"}, {"network": "198.51.100.7/32", "ports": [443]}]
RULES = [
    {
        "to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
        "ports": [{"protocol": "TCP", "port": 1094}, {"protocol": "TCP", "port": 1095}],
    },
    {"to": [{"ipBlock": {"cidr": "198.51.100.7/32"}}], "ports": [{"protocol": "TCP", "port": 443}]},
]
TEAM: dict[str, Any] = {
    "accounts": ["ada"], "groups": {"team": ["ada"]}, "rights": {"features": {"team": ["team"]}},
}  # fmt: skip
YARN = {
    "core_site": {"fs.defaultFS": "hdfs://lab"},
    "yarn_site": {"yarn.resourcemanager.hostname": "rm.example.org"},
    "networks": ["203.0.113.0/24"],
    "without_kerberos": True,
}


def clusters(networks: Any, kind: str = "kubernetes") -> dict[str, Any]:
    """A cluster of that kind, called `team`."""
    sections: dict[str, dict[str, Any]] = {"standalone": {"standalone": {}}, "yarn": {"yarn": YARN}}
    more = sections.get(kind, {})
    return {"clusters": {"team": {"kind": kind, "executors": {"open_networks": networks}, **more}}}


def parsed(networks: Any, kind: str = "kubernetes", **more: Any) -> ServiceConfig:
    """A stack file with it."""
    return parse({"spark": clusters(networks, kind), "auth": TEAM, **more}, "a file")


def test_ports_are_those_of_xrootd_and_eos_unless_others_are_named() -> None:
    first, second = parsed(SITE).spark.open_networks["team"]
    assert (first.ports, second.ports) == ((1094, 1095), (443,))
    assert parsed([]).spark.open_networks == {}


@pytest.mark.parametrize(
    ("networks", "finding"),
    [
        (["192.0.2.0/24"], r"executors\.open_networks"),
        ([{"network": "192.0.2.1/24"}], r"open_networks\[0\]\.network: Input is not a valid IPv4 network"),
        ([{"network": "2001:db8::/32"}], r"executors\.open_networks"),
        ([{"network": "192.0.2.0/24", "ports": []}], r"ports"),
        ([{"network": "192.0.2.0/24", "ports": [0]}], r"ports"),
        ([{"network": "192.0.2.0/24", "port": [1094]}], "did you mean 'ports'"),
        ([{"network": "0.0.0.0/0"}], r"has 0\.0\.0\.0/0, and the stack itself is there"),
        ([{"network": "10.244.3.0/24"}], r"has 10\.244\.3\.0/24, and the stack itself is there \(10\.244\.0\.0/16\)"),
        ([{"network": "10.96.0.1/32", "ports": [443]}], r"stack itself is there \(10\.96\.0\.0/16\)"),
        ([{"network": "169.254.169.254/32", "ports": [80]}], "stack itself is there"),
        ([{"network": "10.240.1.11/32"}], r"stack itself is there \(10\.240\.0\.0/16\)"),
        ([*SITE, {"network": "10.240.0.0/15"}], r"has 10\.240\.0\.0/15"),
    ],
)
@pytest.mark.parametrize("kind", ["kubernetes", "standalone"])
def test_networks_that_cannot_be_are_refused(networks: Any, finding: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parsed(networks, kind)


def test_machines_that_are_there_are_not_among_them() -> None:
    hosts = [{"name": f"m{last}", "address": f"192.0.2.{last}", "group": group, "host_key": "ssh-ed25519 AAAA"}
             for last, group in ((200, "control_plane"), (201, "worker"))]  # fmt: skip
    machines = {"source": "existing", "hosts": hosts}
    with pytest.raises(ConfigError, match=r"has 192\.0\.2\.0/24, and the stack itself is there \(192\.0\.2\.200/32\)"):
        parsed(SITE, machines=machines)
    parsed([{"network": "192.0.2.0/25"}], machines=machines)


def test_a_yarns_executors_are_the_sites() -> None:
    with pytest.raises(ConfigError, match=r"open_networks is for kinds kubernetes and standalone.*firewall"):
        parsed(SITE, "yarn")


def test_where_sessions_are_kept_out_a_cluster_may_be_let_in() -> None:
    """A site's machines of data may be in a network that is closed to sessions otherwise."""
    assert parsed(SITE, cluster={"closed_networks": ["192.0.2.0/24"]}).spark.open_networks


# What is made


@pytest.fixture
def owner() -> Any:
    """Ada's session."""
    return adas()


def policies(kind: str, networks: Any, owner: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The network policies that the hub makes for a session: those of executors first."""
    config = parsed(networks, kind)
    told = choice("team", config.spark.clusters["team"], config.auth.rights)
    model = {"kubernetes": "KubernetesCluster", "standalone": "StandaloneCluster"}[kind]
    cluster = getattr(hubs("clusters"), model)(**told)
    settings = hubs("clusters").SparkSettings(view="/cvmfs/s/spark", api_servers=("10.0.0.1",), api_port=6443)
    (tmp_path / "spark-team").write_text("a secret")
    monkeypatch.setattr(hubs("spark"), "KEYS", tmp_path)
    steps = hubs("spark").made(cluster, owner, settings)
    return [body["spec"] for step in steps for kind_, body in step if kind_ == "NetworkPolicy"]


@pytest.mark.parametrize(("kind", "count"), [("kubernetes", 2), ("standalone", 1)])
def test_executors_and_drivers_go_there_and_nowhere_else(
    kind: str, count: int, owner: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    without, opened = (policies(kind, networks, owner, tmp_path, monkeypatch) for networks in ([], SITE))
    assert len(opened) == count
    for before, after in zip(without, opened, strict=True):
        assert after == {**before, "egress": [*before["egress"], *RULES]}


def test_workers_go_there_and_their_master_does_not() -> None:
    stack = {"cygnet:spark": clusters(SITE, "standalone"), "cygnet:auth": TEAM}
    engine = program.run("site", stack)
    made = next(one for one in engine.of("NetworkPolicy") if one.name == "spark-team-networks").inputs
    assert made["metadata"]["namespace"] == "spark"
    chosen = made["spec"].pop("podSelector")["matchLabels"]
    assert made["spec"] == {"policyTypes": ["Egress"], "egress": RULES}
    pods = {
        what: next(one for one in engine.of("Deployment") if one.name == f"spark-team-{what}").inputs["spec"]
        for what in ("master", "worker")
    }
    chooses = {what: chosen.items() <= pod["template"]["metadata"]["labels"].items() for what, pod in pods.items()}
    assert chooses == {"master": False, "worker": True}
    assert engine.stack_outputs()[0]["parts"]["spark"]["open_networks"] == {
        "team": [{"network": "192.0.2.0/24", "ports": [1094, 1095]}, {"network": "198.51.100.7/32", "ports": [443]}]
    }
    without = program.run("site", stack | {"cygnet:spark": clusters([], "standalone")})
    assert not [one.name for one in without.of("NetworkPolicy") if one.name == "spark-team-networks"]
    assert "open_networks" not in without.stack_outputs()[0]["parts"]["spark"]


def test_the_hub_understands_what_it_is_told() -> None:
    text = program.run("site", {"cygnet:spark": clusters(SITE), "cygnet:auth": TEAM})
    settings = yaml.safe_load(text.one("ConfigMap", "hub").inputs["data"]["hub.yaml"])
    (cluster,) = hubs("settings").Settings.model_validate(settings).sessions.clusters
    assert [(one.network, one.ports) for one in cluster.open_networks] == [
        ("192.0.2.0/24", (1094, 1095)), ("198.51.100.7/32", (443,)),
    ]  # fmt: skip


def test_the_hub_may_open_what_the_stack_names() -> None:
    both = {"clusters": {**clusters(SITE)["clusters"], "lab": clusters([], "yarn")["clusters"]["team"]}}
    config = parse({"spark": both, "auth": {**TEAM, "rights": {"features": {"lab": ["team"]}}}}, "a file").spark
    policy = hub_policy(config, api_servers=["10.0.0.1"], api_port=6443)
    (said,) = [one["expression"] for one in policy["validations"] if "opens ways" in one["message"]]
    of_executors = '"192.0.2.0/24 1094", "192.0.2.0/24 1095", "198.51.100.7/32 443"'
    assert f"[{of_executors}])" in said
    assert f'[{of_executors}, "10.0.0.1/32 6443", "203.0.113.0/24 any"]' in said

"""The monitor: what a stack may say, what its pods may see, who reaches whom, and how operators come to the page."""

import re
from typing import Any

import pytest
import yaml
from cygnet_hub import counted, start
from cygnet_hub.ending import Limits
from cygnet_hub.spawner import why_ended

from components import files, gateway_config, gateway_pods, monitor, monitor_pods
from components.config import ConfigError, parse
from components.files import FilesConfig
from components.gateway_config import GatewayConfig
from components.monitor import MonitorConfig, prometheus_settings
from components.policies import HUB_PORT, MONITOR_SIGN_IN_PORT, hub_policy
from tests.unit import program
from tests.unit.manifests import careless, violations

RULES = program.PROJECT / "images/monitor/rules/cygnet.yaml"
PAGE = program.PROJECT / "images/monitor/consoles/cygnet.html"
HOOK = "https://hooks.example.org/T0KEN"
ON: dict[str, Any] = {"cygnet:monitor": {"enabled": True, "alerts_to": HOOK}}


@pytest.fixture(scope="module")
def made() -> program.Engine:
    """A stack with a monitor that sends alerts."""
    return program.run("site", ON)


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def names_of_figures(text: str) -> set[str]:
    """What is asked of kube-state-metrics."""
    return set(re.findall(r"\bkube_\w+", text))


# What a stack may say


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"monitor": {"days": 0}}, "cygnet:monitor.days"),
        ({"monitor": {"disk_gib": 0}}, "cygnet:monitor.disk_gib"),
        ({"monitor": {"enabled": True, "https_port": 9443}}, "monitor.https_port 9443 is the port of files.https_port"),
        ({"monitor": {"enabled": True, "https_port": 443}}, "monitor.https_port 443 is the port of gateway.https_port"),
        ({"monitor": {"alerts_to": "admin@example.org"}}, 'is no URL, which begins with "https://"'),
        ({"monitor": {"dayz": 3}}, "did you mean 'days'?"),
    ],
)
def test_bad_words(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse(keys, "f")


def test_a_cluster_of_others_is_looked_after_by_others() -> None:
    with pytest.raises(ConfigError, match="monitor has to be left out"):
        parse({"cluster": {"source": "existing"}, "monitor": {"enabled": True}}, "f")


def test_without_a_monitor_nothing_of_it_is_made(local: program.Engine) -> None:
    assert [one.name for one in local.asked if "monitor" in one.name or "prometheus" in one.name] == []
    assert "monitor_port" not in local.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]
    assert "monitor-token" not in local.one("Secret", "hub").inputs["stringData"]
    assert "/monitor" not in local.one("Secret", "gateway").inputs["stringData"]["caddy.json"]
    assert local.stack_outputs()[0]["parts"]["monitor"] == {}


def test_the_stack_tells_where_it_is(made: program.Engine) -> None:
    told = made.stack_outputs()[0]["parts"]["monitor"]
    assert told == {"url": told["url"], "days": 15, "alerts": "sent"}
    assert told["url"].endswith(":9444")


# What its pods are, and may see


@pytest.mark.parametrize(
    "spec",
    [
        monitor_pods.prometheus_spec("i", "d", days=1, disk_gib=1, sends=True),
        monitor_pods.state_spec("i"),
        monitor_pods.node_exporter_spec("i", "machine"),
    ],
)
def test_its_pods_are_unprivileged(spec: dict[str, Any]) -> None:
    pod = spec["template"]["spec"]
    assert (violations(pod), careless(pod)) == ([], [])


def test_a_machine_is_looked_at_and_not_touched() -> None:
    pod = monitor_pods.node_exporter_spec("i", "machine")["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 65534
    (volume,) = pod["volumes"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert volume["persistentVolumeClaim"]["readOnly"]
    assert mount["readOnly"]
    assert not pod["automountServiceAccountToken"]


def test_accounts_see_what_they_tell_of_and_change_nothing(made: program.Engine) -> None:
    seen = made.one("ClusterRole", "kube-state-metrics").inputs["rules"]
    assert {verb for rule in seen for verb in rule["verbs"]} == {"list", "watch"}
    assert {kind for rule in seen for kind in rule["resources"]} == {"nodes", "pods", "deployments", "daemonsets"}
    # Prometheus sees the pods of its own namespace.
    (rule,) = made.one("Role", "prometheus").inputs["rules"]
    assert (rule["resources"], rule["verbs"]) == (["pods"], ["get", "list", "watch"])
    bound = [one.inputs["subjects"] for one in made.of("ClusterRoleBinding")]
    assert "prometheus" not in str(bound)


def test_how_much_is_kept_arrives() -> None:
    spec = monitor_pods.prometheus_spec("i", "d", days=7, disk_gib=2, sends=False)
    (prometheus,) = spec["template"]["spec"]["containers"]
    assert {"--storage.tsdb.retention.time=7d", "--storage.tsdb.retention.size=2GiB"} <= set(prometheus["args"])
    closed = ("admin-api", "lifecycle", "remote-write")
    assert [one for one in prometheus["args"] if any(word in one for word in closed)] == []


# What is asked


def test_every_figure_that_is_asked_for_is_given() -> None:
    asked = names_of_figures(RULES.read_text() + PAGE.read_text())
    assert asked
    assert asked <= set(monitor_pods.STATE)


def test_nothing_is_collected_that_nobody_asks_for() -> None:
    asked = names_of_figures(RULES.read_text() + PAGE.read_text())
    # Of those an operator may want to know by hand.
    by_hand = {
        "kube_node_spec_unschedulable", "kube_pod_container_status_last_terminated_reason",
        "kube_daemonset_status_desired_number_scheduled", "kube_daemonset_status_number_available",
    }  # fmt: skip
    assert set(monitor_pods.STATE) - asked == by_hand


def test_every_job_of_a_rule_is_there() -> None:
    jobs = {job["job_name"] for job in prometheus_settings(sends=False)["scrape_configs"]}
    asked = set(re.findall(r"job='?\"?(\w+)", RULES.read_text() + PAGE.read_text()))
    assert asked <= jobs


def test_the_page_asks_nobody_else() -> None:
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+", PAGE.read_text()) == []


def test_every_alert_says_what_is_the_matter_and_where_its_cure_stands() -> None:
    page = (program.PROJECT / "docs/parts/monitor.md").read_text()
    headings = set(re.findall(r"^### (\w+)$", page, flags=re.MULTILINE))
    assert {rule["alert"] for rule in rules()} == headings
    for rule in rules():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert set(rule["annotations"]) == {"summary", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/parts/monitor.md#{rule['alert'].lower()}"


# What the hub counts


LIMITS = {"resources": {"limits": {"ephemeral-storage": "1Gi"}}}


@pytest.mark.parametrize(
    ("why", "cause"),
    [
        (Limits(idle_seconds=60).passed(used_at=0, now=1e6), "unused"),
        (Limits(age_seconds=60, old_at=1).passed(used_at=0, now=1e6), "too old"),
        (why_ended({"status": {"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}]}}), "memory"),
        (why_ended({"status": {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}}), "shut down"),
        (why_ended({"status": {"message": "Pod was terminated"}}), "other"),
        (
            why_ended(
                {
                    "spec": {"containers": [LIMITS]},
                    "status": {
                        "message": "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi"
                    },
                }
            ),
            "disk",
        ),
        ("the machine on which it ran (worker-1) stopped answering", "machine lost"),
    ],
)
def test_an_end_is_counted_under_what_its_user_reads(why: str, cause: str) -> None:
    counter = counted.ENDED.labels(cause)
    before = counter._value.get()
    counted.ended(why)
    assert counter._value.get() == before + 1


@pytest.mark.parametrize(
    ("error", "unplaced", "cause"),
    [
        (start.Refusal(503, "No machine can take your session now", counted.UNWELL), True, "machines unwell"),
        (TimeoutError(), True, "no room"),
        (TimeoutError(), False, "too slow"),
        (None, False, "too slow"),
        (RuntimeError(), False, "other"),
    ],
)
def test_a_failed_start_is_counted_under_its_cause(error: Exception | None, unplaced: bool, cause: str) -> None:
    counter = counted.FAILURES.labels(cause)
    before = counter._value.get()
    counted.failed(error, unplaced=unplaced)
    assert counter._value.get() == before + 1


# Who reaches whom


def made_policies(*, sends: bool = False) -> dict[str, dict[str, Any]]:
    return monitor_pods.policies(["10.0.0.1"], 6443, ["10.0.0.0/8"], sends=sends)


def test_all_is_closed_but_what_is_named() -> None:
    assert made_policies()["all"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize(("name", "port"), [("kube-state-metrics", 8080), ("node-exporter", 9100)])
def test_prometheus_alone_reaches_what_gives_figures(name: str, port: int) -> None:
    (rule,) = made_policies()[name]["ingress"]
    (source,) = rule["from"]
    assert source["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "prometheus"
    assert [one["port"] for one in rule["ports"]] == [port]


def test_the_gateway_alone_reaches_its_page() -> None:
    (rule,) = made_policies()["prometheus"]["ingress"]
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateway"}}}]


def test_it_reaches_the_outside_only_where_alerts_are_sent() -> None:
    assert "0.0.0.0/0" not in str(made_policies())
    to = [rule["to"] for rule in made_policies(sends=True)["prometheus"]["egress"] if "0.0.0.0/0" in str(rule)]
    assert to == [[{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]]


def test_it_reaches_the_hub_of_a_stack_that_has_it() -> None:
    def readers(**given: Any) -> list[Any]:
        sources = [rule["from"] for rule in hub_policy(["10.0.0.1"], **given)["ingress"] if HUB_PORT in _ports(rule)]
        return [one for listed in sources for one in listed if "'monitor'" in str(one)]

    assert readers() == []
    (prometheus,) = readers(with_monitor=True)
    assert prometheus["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "prometheus"


def _ports(rule: dict[str, Any]) -> list[int]:
    return [one["port"] for one in rule["ports"]]


# Secrets


def test_where_alerts_go_and_what_opens_the_hub_are_nowhere_in_plain_text(made: program.Engine) -> None:
    token = made.one("Secret", "hub").inputs["stringData"]["monitor-token"]
    given = made.one("Secret", "prometheus").inputs["stringData"]
    assert given["hub-token"] == token
    assert HOOK in given["alertmanager.yml"]
    open_to_all = [one for one in made.asked if one.type.split(":")[-1] != "Secret" and one.custom]
    for value in (token, HOOK):
        assert [one.name for one in open_to_all if value in str(one.inputs) and not one.secret_inputs] == []


# At the gateway


def test_it_is_an_origin_of_its_own_with_its_own_door() -> None:
    page = monitor.site(MonitorConfig(https_port=7444), 443)
    served = gateway_pods.caddy_config(
        GatewayConfig(), names=["127.0.0.1"], hosts=[], proxy_address="proxy:8000", for_addresses={}, sites=[page]
    )["apps"]["http"]["servers"]
    assert served["monitor"]["listen"] != served["https"]["listen"]
    leads = [route["handle"][0] for route in served["https"]["routes"] if "match" in route]
    assert leads[0]["upstreams"] == [{"dial": f"hub.hub.svc:{MONITOR_SIGN_IN_PORT}"}]
    assert leads[1]["headers"]["Location"] == ["https://{http.request.host}:7444{http.request.uri}"]


def test_through_a_tunnel_it_is_at_another_port_than_files() -> None:
    def leads(page: gateway_config.Site) -> str:
        (to,) = page.service_routes[-1]["handle"][0]["headers"]["Location"]
        return str(to)

    assert leads(monitor.site(MonitorConfig(), 443)).startswith("https://{http.request.host}:2{http.request.port}")
    assert leads(files.site(FilesConfig(), 443, "key")).startswith("https://{http.request.host}:1{http.request.port}")


def test_nobody_is_let_through_before_they_are_known() -> None:
    routes = monitor.site(MonitorConfig(), 443).routes
    uses = [[handler.get("upstreams", [{}])[0].get("dial") for handler in route["handle"]] for route in routes]
    asked = uses.index(["hub.hub.svc:8083"])
    shown = uses.index(["prometheus.monitor.svc:9090"])
    assert asked < shown == len(routes) - 1
    assert "match" not in routes[asked]
    removed = next(number for number, route in enumerate(routes) if "X-Cygnet-*" in str(route))
    assert removed < asked

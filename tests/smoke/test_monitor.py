"""The monitor: whom it asks, whether its rules are there and quiet, and who may look at it."""

import socket
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlparse

import pytest
import requests
import yaml

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until
from tests.unit.program import PROJECT

RULES = yaml.safe_load((PROJECT / "images/monitor/rules/cygnet.yaml").read_text())
CLAIMS = {"X-Cygnet-User": "operator", "X-Forwarded-User": "operator", "Remote-User": "operator"}
PAGES = ["", "consoles/cygnet.html", "graph", "classic/targets", "metrics", "api/v1/query?query=up", "-/healthy"]

Ask = Callable[[str], Any]


@pytest.fixture(scope="module")
def url(stack: LiveStack) -> str:
    """The page's origin."""
    if not stack.parts["monitor"]:
        pytest.skip(f"the stack '{stack.name}' has no monitor")
    return str(stack.parts["monitor"]["url"])


@pytest.fixture(scope="module")
def ask(stack: LiveStack, url: str) -> Ask:
    """Prometheus' API, as an operator asks it."""
    operator = Visitor(stack, stack.admins[0])

    def asked(path: str) -> Any:
        answer = operator.http.get(
            f"{url}/monitor/api/v1/{path}", headers={"Authorization": f"token {operator.token}"}, timeout=30
        )
        answer.raise_for_status()
        return answer.json()["data"]

    return asked


def test_all_that_it_asks_answers(stack: LiveStack, ask: Ask) -> None:
    def healthy() -> list[dict[str, Any]]:
        targets: list[dict[str, Any]] = ask("targets?state=active")["activeTargets"]
        sick = [f"{one['labels']['job']}: {one['lastError']}" for one in targets if one["health"] != "up"]
        assert not sick, sick
        return targets

    # A service that has just come up was not asked for everything yet.
    targets = until(healthy, "all that Prometheus asks answers", seconds=45, every=3, through=AssertionError)
    machines = len(stack.machines)
    assert Counter(one["labels"]["job"] for one in targets) == {
        "hub": 1, "kubernetes": 1, "machines": machines, "prometheus": 1,
    }  # fmt: skip


def test_all_rules_are_judged(ask: Ask) -> None:
    wanted = {rule["alert"] for group in RULES["groups"] for rule in group["rules"]}

    def judged() -> dict[str, str]:
        return {rule["name"]: rule["health"] for group in ask("rules")["groups"] for rule in group["rules"]}

    until(lambda: judged() == dict.fromkeys(wanted, "ok"), "all rules are judged", seconds=45, every=3)


def test_no_alert_is_raised_on_a_sound_stack(ask: Ask) -> None:
    firing = [one["labels"] for one in ask("alerts")["alerts"] if one["state"] == "firing"]
    assert firing == []


@pytest.mark.parametrize(
    "query",
    [
        'jupyterhub_server_spawn_duration_seconds_count{status="success"}',
        "cygnet_start_failures_total",
        "node_filesystem_avail_bytes",
        'node_cpu_seconds_total{mode="user"}',
        'kube_node_status_condition{condition="Ready",status="true"} == 1',
        "kube_deployment_status_replicas_available",
    ],
)
def test_there_are_figures_of(ask: Ask, query: str) -> None:
    until(lambda: ask(f"query?query={quote(query)}")["result"], query, seconds=45, every=3)


def test_how_full_the_disk_of_homes_is_known(stack: LiveStack, ask: Ask) -> None:
    if not stack.parts["eos"].get("homes"):
        pytest.skip("homes on the stack's own server")
    (homes,) = ask("query?query=" + quote('node_filesystem_size_bytes{mountpoint="/srv/eos"}'))["result"]
    assert homes["metric"]["node"] == stack.group("control_plane")[0]


@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_taken_at_their_word(stack: LiveStack, http: requests.Session, url: str, path: str) -> None:
    answer = http.get(f"{url}/monitor/{path}", headers=CLAIMS, allow_redirects=False, timeout=10)
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"{stack.url}/monitor/sign-in")
    assert http.get(f"{url}/monitor/{path}", headers=CLAIMS, timeout=10).url.startswith(f"{stack.url}/hub/login")


def test_who_is_no_operator_is_refused(stack: LiveStack, url: str) -> None:
    others = [name for name in stack.accounts if name not in stack.admins]
    if not others:
        pytest.skip("an account that is no operator's")
    other = Visitor(stack, others[0])
    by_token = {"Authorization": f"token {other.token}"}
    for path in PAGES:
        assert other.http.get(f"{url}/monitor/{path}", timeout=30).status_code == 403
        answer = http_alone(stack, f"{url}/monitor/{path}", by_token)
        assert answer.status_code in (302, 401, 403)


def http_alone(stack: LiveStack, where: str, headers: dict[str, str]) -> requests.Response:
    return requests.get(where, headers=headers, verify=str(stack.ca_file), allow_redirects=False, timeout=30)


def test_another_page_asks_nothing_in_an_operators_name(stack: LiveStack, http: requests.Session, url: str) -> None:
    answer = http.get(f"{url}/monitor/api/v1/query?query=up", headers={"Origin": stack.url}, timeout=10)
    assert answer.status_code == 403
    assert not any(name.lower().startswith("access-control-") for name in answer.headers)


@pytest.mark.parametrize("port", [8080, 8083, 9090, 9093, 9100])
def test_what_is_behind_it_is_not_on_the_machines(stack: LiveStack, url: str, port: int) -> None:
    for address in {urlparse(url).hostname, *(stack.address(name) for name in stack.machines)}:
        with socket.socket() as probe:
            probe.settimeout(3)
            assert probe.connect_ex((address, port)) != 0


@pytest.mark.usefixtures("url")
def test_its_accounts_see_no_secret_and_change_nothing(stack: LiveStack) -> None:
    closed = ("get secrets --all-namespaces", "create pods --namespace=sessions", "get nodes --subresource=proxy")
    for account in ("monitor:prometheus", "monitor:kube-state-metrics", "monitor:default"):
        for what in closed:
            assert not stack.may(account, what), f"{account}: {what}"
    assert not stack.may("monitor:prometheus", "list pods --namespace=sessions")
    assert stack.may("monitor:prometheus", "list pods --namespace=monitor")

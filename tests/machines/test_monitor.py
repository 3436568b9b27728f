"""The monitor's image on this computer: what its rules make of bad days, and what reaches whoever is to be told."""

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from components.monitor import DEBIANS, MonitorConfig, alertmanager_settings, prometheus_settings, site
from components.monitor_pods import PREFIX, prometheus_spec
from tests.live.ports import free_ports
from tests.live.waiting import until
from tests.machines import image_root

HERE = Path(__file__).parent
STATE = "/var/lib/prometheus"
PAGE = HERE.parents[1] / "images/monitor/consoles/cygnet.html"
ABSENT = ("/monitor/classic/static/vendor/rickshaw/vendor/d3.layout.min.js",)
"""What Prometheus' own library names, and Debian has in d3 itself."""
ALERT = {
    "labels": {"alertname": "HubDown", "severity": "page"},
    "annotations": {"summary": "The hub does not answer", "runbook": "docs/parts/monitor.md#hubdown"},
}


def in_image(folder: Path, *argv: str) -> "subprocess.CompletedProcess[str]":
    """A program of the image, until it ends: its status, and what it said."""
    data, log = folder / "data", folder / "log"
    with image_root.running(
        "monitor", argv, data=data, inside=STATE, log=log, environment={"PATH": "/usr/bin"}, beside={HERE: "/tests"}
    ) as process:
        status = process.wait(60)
    return subprocess.CompletedProcess(argv, status, log.read_text())


def test_bad_days_raise_the_alerts_that_they_should(tmp_path: Path) -> None:
    done = in_image(tmp_path, "promtool", "test", "rules", "/tests/monitor_rules.yaml")
    assert done.returncode == 0, done.stdout
    assert "SUCCESS" in done.stdout


def test_every_alert_has_its_bad_day() -> None:
    tested = {
        expected["alertname"]
        for test in yaml.safe_load((HERE / "monitor_rules.yaml").read_text())["tests"]
        for expected in test["alert_rule_test"]
        if expected["exp_alerts"]
    }
    rules = yaml.safe_load((HERE.parents[1] / "images/monitor/rules/cygnet.yaml").read_text())
    assert tested == {rule["alert"] for group in rules["groups"] for rule in group["rules"]}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prometheus that asks itself alone, below which its pages are."""
    folder = tmp_path_factory.mktemp("prometheus")
    (port,) = free_ports(1)
    itself = f"127.0.0.1:{port}"
    settings = prometheus_settings(sends=False)
    # The others are asked for in a cluster.
    (job,) = (one for one in settings["scrape_configs"] if one["job_name"] == "prometheus")
    job["static_configs"] = [{"targets": [itself]}]
    settings = {**settings, "global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
    beside = folder / "settings"
    beside.mkdir()
    (beside / "prometheus.yml").write_text(yaml.safe_dump(settings))
    spec = prometheus_spec("i", "d", days=1, disk_gib=1, sends=False)["template"]["spec"]
    argv = ["/usr/bin/prometheus", *spec["containers"][0]["args"], f"--web.listen-address={itself}"]
    with image_root.running(
        "monitor", argv, data=folder / "data", inside=STATE, log=folder / "log",
        environment={"PATH": "/usr/bin"}, beside={beside: "/etc/cygnet"},
    ):  # fmt: skip
        address = f"http://{itself}{PREFIX}"
        until(
            lambda: requests.get(f"{address}/-/ready", timeout=5).ok,
            "Prometheus is ready", seconds=30, through=requests.ConnectionError,
        )  # fmt: skip
        yield address


def test_the_page_of_pictures_is_filled_in(prometheus: str) -> None:
    page = requests.get(f"{prometheus}/consoles/cygnet.html", timeout=10)
    assert page.status_code == 200, page.text
    assert "No alert" in page.text
    assert "0 / 0</b>GPUs taken" in page.text


def test_all_that_the_page_loads_is_there(prometheus: str) -> None:
    page = requests.get(f"{prometheus}/consoles/cygnet.html", timeout=10).text
    loaded = {path for path in re.findall(r'(?:src|href)="(/[^"#]+)"', page) if path not in ABSENT}
    assert len(loaded) > 5
    answers = {path: requests.get(prometheus.removesuffix(PREFIX) + path, timeout=10).status_code for path in loaded}
    assert set(answers.values()) == {200}, answers


def test_every_picture_asks_what_prometheus_understands(prometheus: str) -> None:
    asked = expressions(PAGE.read_text())
    assert len(asked) > 10
    for query in asked:
        answer = requests.get(f"{prometheus}/api/v1/query", params={"query": query}, timeout=10)
        assert answer.status_code == 200, f"{query}: {answer.text}"


def expressions(page: str) -> list[str]:
    """What the pictures of a page ask for: its strings of JavaScript, joined, of each list after a picture's name."""
    found = []
    for listed in re.findall(r'picture\("\w+", \[(.*?)\],\s*\{', page, flags=re.DOTALL):
        found += re.findall(r'"([^"]+)"', re.sub(r'"\s*\+\s*"', "", listed))
    return found


def test_pages_of_debian_are_where_the_gateway_looks_for_them(prometheus: str) -> None:
    for route in site(MonitorConfig(), 443).routes:
        for path in route.get("match", [{}])[0].get("path", []):
            if route["handle"][0].get("headers", {}).get("Location") == [DEBIANS]:
                there = f"{prometheus}/classic/{path.rsplit('/', maxsplit=1)[1]}"
                assert "<title>" in requests.get(there, timeout=10).text, there


@pytest.fixture
def told() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of somebody who takes webhooks, and what came there."""
    came: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", came
        server.shutdown()


def test_an_alert_reaches_whoever_is_to_be_told(tmp_path: Path, told: tuple[str, list[dict[str, Any]]]) -> None:
    url, came = told
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager_settings(url)))
    spec = prometheus_spec("i", "d", days=1, disk_gib=1, sends=True)["template"]["spec"]
    (alertmanager,) = (one for one in spec["containers"] if one["name"] == "alertmanager")
    (port,) = free_ports(1)
    argv = [
        *alertmanager["command"],
        *(one.replace(":9093", f":{port}") for one in alertmanager["args"]),
    ]
    place = f"http://127.0.0.1:{port}/api/v2/alerts"
    with image_root.running(
        "monitor", argv, data=tmp_path / "data", inside=STATE, log=tmp_path / "log",
        environment={"PATH": "/usr/bin"}, beside={settings: "/etc/cygnet/secrets"},
    ):  # fmt: skip
        until(
            lambda: requests.post(place, json=[ALERT], timeout=5).ok,
            "Alertmanager takes alerts", seconds=30, through=requests.ConnectionError,
        )  # fmt: skip
        sent = time.monotonic()
        (message,) = until(lambda: came, "the alert has come", seconds=40)
        assert time.monotonic() - sent > 5  # those of one moment come together
    (alert,) = message["alerts"]
    assert (alert["status"], alert["labels"], alert["annotations"]) == ("firing", ALERT["labels"], ALERT["annotations"])

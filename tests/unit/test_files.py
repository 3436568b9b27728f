"""The page of files: what a stack may say, whose folders copyparty has, and where the page stands in the cluster."""

import re
from typing import Any

import pytest

from components import copyparty, files, files_routes, gateway_pods
from components.config import ConfigError, parse
from components.eos import DataConfig
from components.files import FilesConfig
from components.gateway_config import GatewayConfig
from components.kubernetes import SCRATCH
from tests.unit import program
from tests.unit.manifests import careless, violations

ELSEWHERE = {"server": "files.example.org", "keytab": "0 u:a g:a n:a N:1 c:0 e:0 k:ab"}


def spec(**told: Any) -> dict[str, Any]:
    return files.deployment_spec(FilesConfig(**told), image="registry/files:1", node="one", started_with="d")


# What a stack may say


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"files": {"share_days_max": 0}}, "share_days_max"),
        ({"files": {"https_port": 443}}, "files.https_port 443 is the port of gateway.https_port"),
        ({"files": {"https_port": 5000}}, "files.https_port 5000 is the port of the registry"),
        ({"files": {"enabled": True}, "eos": {"client": "none"}}, "remove files.enabled, or set eos.client"),
    ],
)
def test_bad_words(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse(keys, "f")


@pytest.mark.parametrize(
    ("keys", "page"),
    [
        ({}, True),
        ({"files": {"enabled": False, "https_port": 443}}, False),
        ({"eos": {"client": "none"}}, False),
        ({"eos": ELSEWHERE}, False),
    ],
)
def test_there_is_a_page_of_what_the_stack_serves_itself(keys: dict[str, Any], page: bool) -> None:
    config = parse(keys, "f")
    assert files.has_page(config.files, config.eos) is page


def test_without_a_page_nothing_of_it_is_made() -> None:
    engine = program.run("site", {"cygnet:files": {"enabled": False}})
    assert [one.name for one in engine.asked if "files" in one.name] == []
    assert "files_port" not in engine.one("ConfigMap", "hub").inputs["data"]["hub.yaml"]
    assert "/files" not in engine.one("Secret", "gateway").inputs["stringData"]["caddy.json"]


# Whose folders


def test_groups_decide_on_experiment_data() -> None:
    groups = {"atlas": ["ada"], "lab": ["bob", "eve"]}
    data = {
        "opendata": DataConfig(readers="everyone", writers=("atlas",)),
        "raw": DataConfig(readers=("lab",)),
        "closed": DataConfig(),
    }
    assert files.who_may(data, groups, ["ada", "bob", "eve", "guest"]) == {
        "opendata": (["bob", "eve", "guest"], ["ada"]),
        "raw": (["bob", "eve"], []),
        "closed": ([], []),
    }


def test_a_home_is_its_users_alone() -> None:
    text = copyparty.settings(
        ["ada", "bob"], {"raw": (["bob"], [])}, folder="/srv/files", state="/state", trusted="10.0.0.0/8"
    )
    volumes = re.findall(r"^\[(/\S+)\]\n  (\S+)\n  accs:\n((?:    .+\n?)*)", text, flags=re.MULTILINE)
    assert [(url, folder, access.strip()) for url, folder, access in volumes] == [
        ("/eos/user/a/ada", "/srv/files/user/a/ada", "rwmd.: ada"),
        ("/eos/user/b/bob", "/srv/files/user/b/bob", "rwmd.: bob"),
        ("/eos/raw", "/srv/files/raw", "r: bob"),
    ]
    assert "*" not in text


def test_it_has_no_more_than_its_users() -> None:
    engine = program.run("site", {"cygnet:auth": {"accounts": ["ada"], "admins": ["root"], "seats": 1}})
    told = engine.one("ConfigMap", "files").inputs["data"]["copyparty.conf"]
    assert re.findall(r"^\[/eos/user/(.*)\]", told, flags=re.MULTILINE) == ["a/ada", "r/root", "s/seat-001"]


# Where it stands


def test_its_pod_is_unprivileged_and_has_the_files_owner() -> None:
    pod = spec()["template"]["spec"]
    assert (violations(pod), careless(pod)) == ([], [])
    owner = pod["securityContext"]["runAsUser"]
    assert (owner, pod["securityContext"]["runAsGroup"]) == (1094, 1094)
    assert pod["nodeSelector"] == {"kubernetes.io/hostname": "one"}


def test_the_preview_has_no_files_and_another_user() -> None:
    pod = spec()["template"]["spec"]
    preview = next(one for one in pod["containers"] if one["name"] == "preview")
    assert {mount["name"] for mount in preview["volumeMounts"]} == {"scratch"}
    assert preview["securityContext"]["runAsUser"] != pod["securityContext"]["runAsUser"]
    assert preview["env"] == [{"name": "HOME", "value": SCRATCH}]


def test_the_longest_time_of_a_link_arrives() -> None:
    assert spec(share_days_max=7)["template"]["spec"]["containers"][0]["args"][-1] == "7"


def test_only_the_gateway_reaches_it() -> None:
    within = {"kubernetes.io/metadata.name": "gateway"}
    (rule,) = files.NETWORK_POLICY["ingress"]
    assert [one["namespaceSelector"]["matchLabels"] for one in rule["from"]] == [within]
    assert files.NETWORK_POLICY["egress"] == []
    assert set(files.NETWORK_POLICY["policyTypes"]) == {"Ingress", "Egress"}


def test_its_key_is_nowhere_in_plain_text() -> None:
    engine = program.run("site", {})
    assert "x-key-" not in str(engine.one("ConfigMap", "files").inputs)
    assert "x-key-" not in engine.one("Secret", "gateway").inputs["stringData"]["caddy.json"]


# At the gateway


def test_it_is_an_origin_of_its_own() -> None:
    config = FilesConfig(https_port=7443)
    made = gateway_pods.caddy_config(
        GatewayConfig(), names=["127.0.0.1"], hosts=[], proxy_address="proxy:8000", for_addresses={},
        sites=[files.site(config, 443, "key")],
    )  # fmt: skip
    servers = made["apps"]["http"]["servers"]
    assert servers["files"]["listen"] != servers["https"]["listen"]
    at_service = [route for route in servers["https"]["routes"] if "match" in route]
    leads = [route["handle"][0] for route in at_service]
    assert leads[0]["upstreams"] == [{"dial": "hub.hub.svc:8082"}]
    assert leads[1]["headers"]["Location"] == ["https://{http.request.host}:7443{http.request.uri}"]


def test_its_port_is_open_on_the_machine_and_in_the_policy() -> None:
    site = files.site(FilesConfig(https_port=7443), 443, "key")
    pod = gateway_pods.caddy_pod(GatewayConfig(), image="i", started_with="s", sites=[site])
    (caddy,) = pod["spec"]["containers"]
    (port,) = (one for one in caddy["ports"] if one["name"] == "files")
    assert port["hostPort"] == 7443
    policy = gateway_pods.network_policy(GatewayConfig(), [site])
    assert port["containerPort"] in {one["port"] for rule in policy["ingress"] for one in rule["ports"]}


def test_nobody_is_let_through_before_they_are_known() -> None:
    routes = files_routes.at_page(443, 9443, sign_in="hub:8082", files="files:3923", preview="files:3924")
    uses = [[handler.get("upstreams", [{}])[0].get("dial") for handler in route["handle"]] for route in routes]
    asked = next(number for number, dials in enumerate(uses) if "hub:8082" in dials)
    shown = [number for number, dials in enumerate(uses) if {"files:3923", "files:3924"} & set(dials)]
    removed = next(number for number, route in enumerate(routes) if "delete" in str(route))
    assert removed < asked < min(shown)
    assert routes[asked]["match"] == [{"not": [{"path": ["/files/share/*", "/files/.cpr/*"]}]}]

"""The login machine: its manifests, its files of users, and what its SSH server is told."""

import json
import re
from typing import Any

import pytest

from components import login
from components.config import ConfigError, parse
from components.login import LoginConfig
from tests.unit import program
from tests.unit.manifests import careless, lets_in, lets_out

INNER = ["10.244.0.0/16", "10.96.0.0/16", "169.254.0.0/16", "10.240.3.0/24"]
RELEASES = [
    {"name": "stable", "view": "/cvmfs/software.example/stable"},
    {"name": "bleeding", "view": "/cvmfs/software.example/bleeding"},
]
SSHD = (program.PROJECT / "images/login/sshd_config").read_text()


def spec(**keys: Any) -> dict[str, Any]:
    return login.daemon_set_spec(
        LoginConfig(enabled=True, **keys),
        image="r/login:1", releases=RELEASES, folders=["/cvmfs", "/eos"], users="digest",
    )  # fmt: skip


@pytest.fixture(scope="module")
def enabled() -> program.Engine:
    return program.run("local", {"cygnet:login": {"enabled": True}})


def test_without_a_word_there_is_none(local: program.Engine) -> None:
    assert not [one for one in local.asked if one.name.startswith("login") and one.custom]
    assert local.stack_outputs()[0]["parts"]["login"] == {}


def test_with_a_word_the_stack_tells_where_it_is_and_by_which_key_it_is_known(enabled: program.Engine) -> None:
    told = enabled.stack_outputs()[0]["parts"]["login"]
    assert told["address"] == "10.240.3.11:2022"
    assert told["host_key"].startswith("ssh-ed25519 AAAA")


def test_every_account_is_a_user_of_its_own(enabled: program.Engine) -> None:
    files = enabled.one("Secret", "login").inputs["stringData"]
    users = dict(re.findall(r"^([a-z-]+):x:(\d+):100:", files["passwd"], flags=re.MULTILINE))
    assert set(users) == {"operator", "physicist"} == set(json.loads(files["accounts.json"]))
    assert len(set(users.values())) == 2
    assert all(int(number) >= 65536 for number in users.values())


def test_what_is_secret_is_secret(enabled: program.Engine) -> None:
    assert "stringData" in enabled.one("Secret", "login").secret_inputs


def test_passwords_and_the_host_key_are_roots_alone() -> None:
    volumes = {volume["name"]: volume for volume in spec()["template"]["spec"]["volumes"]}
    assert volumes["users"]["secret"]["defaultMode"] == 0o400
    assert [item["key"] for item in volumes["passwd"]["secret"]["items"]] == ["passwd"]


def test_it_is_root_for_becoming_its_users_and_for_nothing_else() -> None:
    pod = spec()["template"]["spec"]
    security = pod["containers"][0]["securityContext"]
    assert security["capabilities"]["drop"] == ["ALL"]
    assert not {"SYS_ADMIN", "NET_ADMIN", "DAC_OVERRIDE", "SYS_PTRACE"} & set(security["capabilities"]["add"])
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert pod["automountServiceAccountToken"] is False


def test_the_pod_is_not_careless() -> None:
    assert not careless(spec()["template"]["spec"])


def test_clients_that_were_started_anew_are_seen() -> None:
    mounts = {mount["mountPath"]: mount for mount in spec()["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["/eos"]["mountPropagation"] == mounts["/cvmfs"]["mountPropagation"] == "HostToContainer"


def test_a_shell_begins_with_the_first_release() -> None:
    assert spec()["template"]["spec"]["containers"][0]["args"] == [
        "-oSetEnv=CYGNET_VIEW=/cvmfs/software.example/stable"
    ]


def test_its_users_reach_what_sessions_reach() -> None:
    policy = login.network_policy(LoginConfig(enabled=True), INNER)
    assert lets_out(policy, "192.0.2.1")
    assert not lets_out(policy, "10.240.3.11")
    assert not lets_out(policy, "10.96.0.1")
    assert lets_in(policy, "198.51.100.7", 2022)
    assert not lets_in(policy, "198.51.100.7", 22)


def test_only_networks_that_are_allowed_come_in() -> None:
    policy = login.network_policy(LoginConfig(enabled=True, allowed_networks=["192.0.2.0/24"]), INNER)
    assert lets_in(policy, "192.0.2.7", 2022)
    assert not lets_in(policy, "198.51.100.7", 2022)


@pytest.mark.parametrize(
    "said",
    ["PermitRootLogin no", "AllowGroups users", "AllowTcpForwarding no", "PermitTunnel no", "X11Forwarding no",
     "PermitUserEnvironment no", "AllowStreamLocalForwarding no"],
)  # fmt: skip
def test_the_server_is_told(said: str) -> None:
    assert said in SSHD.splitlines()


@pytest.mark.parametrize(
    ("document", "finding"),
    [
        ({"login": {"enabled": True}, "eos": {"client": "none"}}, "login.enabled needs homes on EOS"),
        (
            {"login": {"enabled": True, "port": 8443}, "gateway": {"https_port": 8443}},
            "is the port of gateway.https_port",
        ),
        ({"login": {"port": 22}}, "greater than or equal to 1024"),
    ],
)
def test_findings(document: dict[str, Any], finding: str) -> None:
    with pytest.raises(ConfigError, match=finding):
        parse(document, "stacks/Pulumi.x.yaml")

"""Homes and experiment data: what a stack may say, who may do what on the server, and how sessions get it."""

import importlib.util
import json
from ipaddress import ip_address
from types import ModuleType
from typing import Any

import pytest

from components.config import ConfigError, parse
from components.eos import EosConfig
from components.playbook import PLAYBOOKS
from components.secrets import new_keytab
from components.sign_in.user_ids import user_id
from tests.unit import program

KEYTAB = new_keytab()
SERVER = {"server": "files.example.org", "keytab": KEYTAB}
INSTANCES = {"home": {"server": "eoshome.example.org", "folder": "/eos/user"}}


# What a stack may say


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"client": "none", "home_gib": 3},
        {"image_gib": None},
        {"data": {"opendata": {"readers": "everyone"}}},
        {"data": {"raw": {"readers": ["atlas"], "writers": ["atlas"]}}},
        SERVER,
        {**SERVER, "server": "10.0.0.1:2094"},
        {"client": "eosxd", "instances": INSTANCES, "keytab": KEYTAB},
    ],
)
def test_good_words(keys: dict[str, Any]) -> None:
    assert parse({"eos": keys, "auth": {"groups": {"atlas": ["physicist"]}}}, "f")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"client": "afs"}, "client"),
        ({"home_gib": 0}, "home_gib"),
        ({"image_gib": 0}, "image_gib"),
        ({"data": {"user": {}}}, "/eos/user is where homes are"),
        ({"data": {"../etc": {}}}, "data"),
        ({"data": {"Raw": {}}}, "data"),
        ({"data": {"raw": {"readers": ["nobody"]}}}, "groups that auth.groups does not have (raw: nobody)"),
        ({"data": {"raw": {"writers": "everyone"}}}, "writers"),
        ({"server": "files.example.org"}, "needs both: server, where it is, and keytab"),
        ({"keytab": KEYTAB}, "needs both: server, where it is, and keytab"),
        ({**SERVER, "keytab": "secret"}, "keytab"),
        ({**SERVER, "server": "root://x/"}, "server"),
        ({**SERVER, "image_gib": 3}, "image_gib is for the stack's own server"),
        ({"client": "none", "data": {}}, "data is for client xrdmount"),
        ({"client": "eosxd"}, "needs instances"),
        ({"client": "eosxd", "instances": INSTANCES}, "keytab of machines"),
        ({"client": "eosxd", "instances": INSTANCES, "keytab": KEYTAB, "data": {}}, "data is for client xrdmount"),
        ({"instances": INSTANCES}, "instances is for client eosxd"),
    ],
)
def test_bad_words(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse({"eos": keys}, "Pulumi.site.yaml")
    assert said in str(error.value)
    assert KEYTAB.split("k:")[1].strip() not in str(error.value)


def test_the_size_of_homes_has_moved() -> None:
    with pytest.raises(ConfigError, match=r"cygnet:hub: home_gib is cygnet:eos\.home_gib now"):
        parse({"hub": {"home_gib": 3}}, "Pulumi.site.yaml")


# Who may do what


def program_of(role: str, name: str) -> ModuleType:
    """A program that a role brings to machines."""
    spec = importlib.util.spec_from_file_location(name, PLAYBOOKS / f"roles/{role}/files/{name}.py")
    assert spec
    assert spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


DATA = {
    "opendata": {"readers": "everyone", "writers": ["staff"]},
    "open": {"readers": [], "writers": []},
    "opendata2": {"readers": ["atlas"], "writers": ["staff"]},
}
USERS = {"ad": [], "ada": ["atlas"], "adam": ["atlas"], "bob": ["staff"]}


def may(user: str, path: str, *, guests: bool = False) -> set[str]:
    """The rights of a user at a path, as XRootD finds them: in each record the first prefix decides, records add up."""
    lines = program_of("xrootd", "homes").access(USERS, DATA, guests=guests)
    records = {words[1]: words[2:] for words in map(str.split, lines)}
    found: set[str] = set()
    for record in (records["*"], records.get("=", []), records.get(user, [])):
        pairs = zip(record[::2], record[1::2], strict=True)
        rights = next((right for prefix, right in pairs if path.startswith(prefix.replace("@=", user))), "")
        found |= set() if rights.startswith("-") else set(rights)
    return found


@pytest.mark.parametrize(
    ("user", "path", "rights"),
    [
        ("ada", "/eos/user/a/ada/", "a"),
        ("ada", "/eos/user/a/ada/deep/file", "a"),
        ("ada", "/eos/user/a/adam/", ""),
        ("ada", "/eos/user/a/adam/file", ""),
        ("ad", "/eos/user/a/ada/file", ""),
        ("ada", "/eos/user/b/bob/file", ""),
        ("ada", "/eos/user/z/removed/file", ""),
        ("nobody", "/eos/user/a/ada/file", ""),
        ("ada", "/eos/.quota/ada/bytes", "r"),
        ("ada", "/eos/.quota/adam/bytes", ""),
        ("ad", "/eos/.quota/ada/bytes", ""),
        # The way to a home can be looked at, and not be listed.
        ("ada", "/eos/user", "l"),
        ("ada", "/eos/user/a", "l"),
        ("_machine", "/eos/user", "l"),
        ("_machine", "/eos/open", "l"),
        ("ada", "/eos/opendata", "lr"),
        ("ada", "/eos/opendata/file", "lr"),
        ("bob", "/eos/opendata/file", "alr"),
        ("ada", "/eos/open/file", ""),
        ("ada", "/eos/open", "l"),
        ("ada", "/eos/opendata2/file", "lr"),
        ("ada", "/eos/opendata2", "lr"),
        ("bob", "/eos/opendata2/file", "a"),
        ("ad", "/eos/opendata2/file", ""),
        ("ad", "/eos/opendata2", "l"),
    ],
)
def test_what_a_user_may(user: str, path: str, rights: str) -> None:
    assert may(user, path) == set(rights)


@pytest.mark.parametrize(
    ("path", "rights"),
    [
        ("/eos/user/e/eve/file", "a"),
        ("/eos/user/e/evelyn/file", ""),
        ("/eos/user/a/ada/file", ""),
        ("/eos/.quota/eve/bytes", "r"),
        ("/eos/.quota/ada/bytes", ""),
        ("/eos/opendata/file", "lr"),
        ("/eos/opendata2/file", ""),
        ("/eos/user", "l"),
    ],
)
def test_a_guest_has_a_home_before_the_server_has_read_anything(path: str, rights: str) -> None:
    assert may("eve", path, guests=True) == set(rights)
    assert may("eve", "/eos/user/e/eve/file") == set()


# Whom the hub makes known


def test_guests_stand_beside_those_whom_the_stack_names() -> None:
    named = {"ada": {"uid": 70000}, "_machine": {"uid": 0}}
    users, complaints = program_of("eos", "guests").joined(named, {"eve": '{"uid": 70001, "groups": ["atlas"]}'})
    assert complaints == []
    assert users == {
        **named,
        "eve": {
            "uid": 70001,
            "home": "/eos/user/e/eve",
            "quota": "/eos/.quota/eve/bytes",
            "guest": True,
            "groups": ["atlas"],
        },
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("../etc", '{"uid": 70001, "groups": []}'),
        ("Eve", '{"uid": 70001, "groups": []}'),
        ("_machine2", '{"uid": 70001, "groups": []}'),
        ("eve\n", '{"uid": 70001, "groups": []}'),
        ("e" * 32, '{"uid": 70001, "groups": []}'),
        ("eve", '{"uid": 0, "groups": []}'),
        ("eve", '{"uid": 999, "groups": []}'),
        ("eve", '{"uid": 2147483648, "groups": []}'),
        ("eve", '{"uid": true, "groups": []}'),
        ("eve", '{"uid": "70001", "groups": []}'),
        ("eve", '{"uid": 70000, "groups": []}'),
        ("eve", '{"uid": 70001, "groups": "atlas"}'),
        ("eve", '{"uid": 70001, "groups": [1]}'),
        ("eve", '{"uid": 70001}'),
        ("eve", '{"uid": 70001, "groups": [], "home": "/eos/user/a/ada"}'),
        ("eve", "[]"),
        ("eve", "no JSON"),
    ],
)
def test_what_is_no_user_is_left_out_and_told(name: str, text: str) -> None:
    named = {"ada": {"uid": 70000}}
    users, complaints = program_of("eos", "guests").joined(named, {name: text, "bob": '{"uid": 70002, "groups": []}'})
    assert users.keys() == {"ada", "bob"}
    assert len(complaints) == 1
    assert "is left out" in complaints[0]


def test_nobody_takes_the_place_of_one_whom_the_stack_names() -> None:
    named = {"ada": {"uid": 70000, "home": "/eos/user/a/ada"}}
    users, _ = program_of("eos", "guests").joined(named, {"ada": '{"uid": 70001, "groups": ["staff"]}'})
    assert users == named


# What is declared


def variables(**keys: Any) -> dict[str, Any]:
    config = {"cygnet:eos": keys, "cygnet:auth": {"accounts": ["ada"], "groups": {"atlas": ["ada"]}}}
    found: dict[str, Any] = program.run("site", config).one("Playbook", "eos").inputs["variables"]
    return found


def test_every_machine_mounts_homes_from_the_first_one(local: program.Engine) -> None:
    play = local.one("Playbook", "eos").inputs
    assert [host["name"] for host in play["hosts"]] == ["control-plane-1", "worker-1", "worker-2"]
    (homes,) = play["variables"]["eos_mounts"]
    assert homes == {"name": "user", "folder": "/eos/user", "server": "10.240.3.11:1094"}
    assert play["variables"]["xrootd_serves"] is True
    assert play["variables"]["xrootd_users"] == {"operator": [], "physicist": []}
    assert "eos_guests" not in play["variables"]
    assert play["variables"]["eos_users"] == {name: user_id(name) for name in ("operator", "physicist")}


def test_server_and_machines_have_the_same_key_which_is_the_stacks_own(local: program.Engine) -> None:
    given = local.one("Playbook", "eos").inputs["variables"]
    assert given["eos_keytab"] == given["xrootd_keytab"]
    assert given["eos_keytab"] != program.run("site", {}).one("Playbook", "eos").inputs["variables"]["eos_keytab"]
    assert "variables" in local.one("Playbook", "eos").secret_inputs


def test_data_is_mounted_beside_homes() -> None:
    given = variables(data={"raw": {"readers": ["atlas"]}, "opendata": {"readers": "everyone"}}, home_gib=7)
    assert sorted(mount["folder"] for mount in given["eos_mounts"]) == ["/eos/opendata", "/eos/raw", "/eos/user"]
    assert given["xrootd_data"] == {
        "opendata": {"readers": "everyone", "writers": []},
        "raw": {"readers": ["atlas"], "writers": []},
    }
    assert given["xrootd_home_gib"] == 7
    assert given["xrootd_users"]["ada"] == ["atlas"]


def test_a_server_that_is_there_is_used_with_its_key() -> None:
    given = variables(**SERVER)
    assert given["eos_mounts"][0]["server"] == "files.example.org:1094"
    assert given["eos_keytab"] == KEYTAB
    assert given["xrootd_serves"] is False


def test_eosxd_mounts_its_instances() -> None:
    given = variables(client="eosxd", instances=INSTANCES, keytab=KEYTAB)
    assert given["eos_mounts"] == [{"name": "home", "folder": "/eos/user", "server": "eoshome.example.org:1094"}]
    assert given["xrootd_serves"] is False


def test_without_it_there_is_none_of_it() -> None:
    engine = program.run("site", {"cygnet:eos": {"client": "none"}})
    assert [one.name for one in engine.of("Playbook")].count("eos") == 0
    assert engine.of("Keytab") == []
    assert engine.stack_outputs()[0]["parts"]["eos"] == {"client": "none"}
    assert [one.name for one in engine.of("PersistentVolume")] == ["cvmfs"]


def test_the_stack_tells_what_it_has(local: program.Engine) -> None:
    told = local.stack_outputs()[0]["parts"]["eos"]
    assert (told["client"], told["folder"], told["homes"], told["home_gib"]) == ("xrdmount", "/eos", "/eos/user", 5)
    host, _, port = told["mounts"][0]["server"].partition(":")
    assert ip_address(host)
    assert port == "1094"


def test_sessions_may_write_there(local: program.Engine) -> None:
    volume = local.one("PersistentVolume", "eos").inputs["spec"]
    claim = local.one("PersistentVolumeClaim", "eos").inputs["spec"]
    assert volume["hostPath"] == {"path": "/eos", "type": "Directory"}
    assert volume["accessModes"] == claim["accessModes"] == ["ReadWriteMany"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"


def test_the_hub_knows_everybodys_number(local: program.Engine) -> None:
    accounts = json.loads(local.one("Secret", "hub").inputs["stringData"]["accounts.json"])
    assert {name: account["uid"] for name, account in accounts.items()} == {
        name: user_id(name) for name in ("operator", "physicist")
    }


def test_a_keytab_is_of_the_form_that_is_asked_for() -> None:
    assert EosConfig.model_validate({**SERVER, "keytab": new_keytab()})

"""CVMFS: what machines mount, through which proxies, and what a stack may say about it."""

from typing import Any

import pytest

from components import cvmfs
from components.config import ConfigError, parse
from components.cvmfs import CvmfsConfig
from components.kubernetes import machines_claim, machines_volume
from tests.unit import program

KEY = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n"
OTHER = {"servers": ["http://cvmfs.example.org/cvmfs"], "public_keys": [KEY]}
OWN = [{"name": "software.cygnet.internal", "servers": ["http://10.240.3.11:8000/cvmfs"], "public_keys": [KEY]}]
PROXY = "http://10.240.3.11:3128"


def config(**keys: Any) -> CvmfsConfig:
    return CvmfsConfig.model_validate(keys)


def ways(*arguments: Any, **keys: Any) -> dict[str, list[str]]:
    """The proxies of each repository."""
    mounted = cvmfs.mounts(config(**keys), *arguments, own_proxy=PROXY)
    return {repository["name"]: repository["proxies"] for repository in mounted}


# What a stack may say


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"client": "cvmfs2"},
        {"repositories": {"sft-nightlies.cern.ch": OTHER}},
        {"repositories": {"a.b": {**OTHER, "servers": ["http://10.0.0.1:8000/cvmfs", "http://b-1.example/cvmfs"]}}},
        {"proxies": ["http://squid.example.org:3128"], "cache_gib": 0.5, "poll_seconds": 2},
    ],
)
def test_good_words(keys: dict[str, Any]) -> None:
    assert config(**keys)


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"client": "afs"}, "client"),
        ({"repositories": {"cern": OTHER}}, "repositories"),
        ({"repositories": {"../etc.x": OTHER}}, "repositories"),
        ({"repositories": {"a.b": {**OTHER, "servers": []}}}, "servers"),
        ({"repositories": {"a.b": {**OTHER, "servers": ["https://x/cvmfs"]}}}, "servers"),
        ({"repositories": {"a.b": {**OTHER, "servers": ['http://x/"; touch /x']}}}, "servers"),
        ({"repositories": {"a.b": {**OTHER, "public_keys": []}}}, "public_keys"),
        ({"repositories": {"a.b": {**OTHER, "public_keys": ["ssh-rsa AAAA"]}}}, "public_keys"),
        ({"repositories": {"a.b": {**OTHER, "key": KEY}}}, "key"),
        ({"proxies": ["squid.example.org:3128"]}, "proxies"),
        ({"cache_gib": 0}, "cache_gib"),
        ({"poll_seconds": 0}, "poll_seconds"),
    ],
)
def test_bad_words(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(ConfigError, match=rf"cygnet:cvmfs\.[\w.\[\]/-]*{place}"):
        parse({"cvmfs": keys}, "Pulumi.site.yaml")


def test_the_stacks_own_repository_cannot_be_another_one_too() -> None:
    with pytest.raises(ConfigError, match="which is the stack's own repository"):
        parse({"cvmfs": {"repositories": {"software.cygnet.internal": OTHER}}}, "Pulumi.site.yaml")
    assert parse({"cvmfs": {"repositories": {"software.cygnet.internal": OTHER}}, "software": {"releases": []}}, "f")


# What machines mount


def test_without_a_sites_proxies_the_stacks_own_is_asked() -> None:
    assert ways(OWN, repositories={"sft.cern.ch": OTHER}) == {
        "software.cygnet.internal": [PROXY, "DIRECT"],
        "sft.cern.ch": [PROXY],
    }


def test_a_sites_proxies_are_asked_for_what_is_outside_only() -> None:
    assert ways(OWN, repositories={"sft.cern.ch": OTHER}, proxies=["http://squid.example.org:3128"]) == {
        "software.cygnet.internal": ["DIRECT"],
        "sft.cern.ch": ["http://squid.example.org:3128"],
    }


def test_nothing_is_mounted_where_nothing_is_declared() -> None:
    assert ways([]) == {}


def test_the_proxy_may_ask_each_server_once_named() -> None:
    mounted = cvmfs.mounts(config(repositories={"a.b": OTHER, "c.d": OTHER}), OWN, own_proxy=PROXY)
    assert cvmfs.servers(mounted) == [
        {"host": "10.240.3.11", "port": 8000},
        {"host": "cvmfs.example.org", "port": 80},
    ]


# What is declared


def test_every_machine_mounts_the_stacks_own_repository(local: program.Engine) -> None:
    play = local.one("Playbook", "cvmfs").inputs
    assert [host["name"] for host in play["hosts"]] == ["control-plane-1", "worker-1", "worker-2"]
    (own,) = play["variables"]["cvmfs_repositories"]
    published = local.one("Playbook", "software").inputs["variables"]["software_repository"]
    assert own["name"] == published == "software.cygnet.internal"
    assert own["servers"] == ["http://10.240.3.11:8000/cvmfs"]
    assert own["proxies"] == ["http://10.240.3.11:3128", "DIRECT"]
    assert own["public_keys"][0].startswith("-----BEGIN PUBLIC KEY-----")
    assert play["variables"]["squid_servers"] == [{"host": "10.240.3.11", "port": 8000}]


def test_a_site_with_proxies_gets_none() -> None:
    engine = program.run("site", {"cygnet:cvmfs": {"proxies": ["http://squid.example.org:3128"]}})
    assert engine.one("Playbook", "cvmfs").inputs["variables"]["squid_servers"] == []


def test_words_of_the_stack_reach_the_machines() -> None:
    engine = program.run(
        "site",
        {"cygnet:cvmfs": {"client": "cvmfs2", "repositories": {"a.b": OTHER}, "cache_gib": 1.5, "poll_seconds": 30}},
    )
    given = engine.one("Playbook", "cvmfs").inputs["variables"]
    assert (given["cvmfs_client"], given["cvmfs_cache_gib"], given["cvmfs_poll_seconds"]) == ("cvmfs2", 1.5, 30)
    assert [repository["name"] for repository in given["cvmfs_repositories"]] == ["software.cygnet.internal", "a.b"]
    assert engine.stack_outputs()[0]["parts"]["cvmfs"]["client"] == "cvmfs2"


# How sessions get it


def test_sessions_claim_the_one_volume_that_is_theirs(local: program.Engine) -> None:
    volume = local.one("PersistentVolume", "cvmfs").inputs
    claim = local.one("PersistentVolumeClaim", "cvmfs").inputs
    there = claim["metadata"]
    assert there["namespace"] == "sessions"
    assert volume["spec"]["claimRef"] == {"namespace": there["namespace"], "name": there["name"]}
    assert claim["spec"]["volumeName"] == volume["metadata"]["name"]


def test_the_volume_is_the_machines_folder_and_nobody_writes_to_it() -> None:
    volume = machines_volume("/cvmfs", "ReadOnlyMany", namespace="sessions", claim="cvmfs")
    claim = machines_claim("cvmfs", "ReadOnlyMany")
    assert volume["hostPath"] == {"path": "/cvmfs", "type": "Directory"}
    assert volume["accessModes"] == claim["accessModes"] == ["ReadOnlyMany"]
    # No class: the provisioner of homes has no part in it.
    assert volume["storageClassName"] == claim["storageClassName"] == ""
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"

"""Software repositories below /cvmfs, on every machine and in every session."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from testinfra.host import Host

from tests.live import strangers
from tests.live.stack import LiveStack
from tests.live.waiting import until

_REVISION = "import os, sys; print(os.getxattr(sys.argv[1], 'user.revision').decode())"
_THROUGH_PROXY = """
import sys, urllib.error, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": sys.argv[1]}))
try:
    print(opener.open(sys.argv[2], timeout=10).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


@pytest.fixture
def repositories(stack: LiveStack) -> Mapping[str, Mapping[str, Any]]:
    found = {repository["name"]: repository for repository in stack.parts["cvmfs"]["repositories"]}
    if not found:
        pytest.skip(f"the stack '{stack.name}' mounts no repository")
    return found


@pytest.fixture
def proxy(stack: LiveStack, repositories: Mapping[str, Mapping[str, Any]]) -> str:
    """The stack's own proxy."""
    own = f"http://{stack.parts['cluster']['address']}:3128"
    if not any(own in repository["proxies"] for repository in repositories.values()):
        pytest.skip(f"the stack '{stack.name}' uses its site's proxies")
    return own


def test_every_machine_has_every_repository(
    hosts: Mapping[str, Host], repositories: Mapping[str, Mapping[str, Any]]
) -> None:
    empty = [
        f"{name}: {repository}"
        for name, host in hosts.items()
        for repository in repositories
        if not host.check_output("ls /cvmfs/%s", repository)
    ]
    assert empty == []


def test_what_first_users_need_is_read_before_they_come(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    part = stack.parts["software"]
    if "repository" not in part or stack.parts["cvmfs"]["client"] != "swfs":
        pytest.skip(f"the stack '{stack.name}' has nothing to read beforehand")
    mark = f"/run/cygnet-warm-{part['repository']}"
    for name, host in hosts.items():
        # It waits for nobody, and takes its time on a busy machine.
        until(
            lambda host=host: host.run("cat %s", mark).stdout == f"{part['revision']:g}",
            f"{name} has read it",
            seconds=50,
        )


def test_all_machines_have_the_revision_that_was_published(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    part = stack.parts["software"]
    if "repository" not in part:
        pytest.skip(f"the stack '{stack.name}' has no software of its own")
    folder = f"/cvmfs/{part['repository']}"
    revisions = {name: host.check_output("python3 -c %s %s", _REVISION, folder) for name, host in hosts.items()}
    assert revisions == dict.fromkeys(hosts, f"{part['revision']:g}")


def test_every_release_is_there(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    part = stack.parts["software"]
    missing = [
        f"{name}: {release['name']}"
        for name, host in hosts.items()
        for release in part["releases"]
        if not host.file(f"{release['view']}/setup.sh").is_file
    ]
    assert missing == []


def test_nobody_writes_there(hosts: Mapping[str, Host], repositories: Mapping[str, Mapping[str, Any]]) -> None:
    for name, host in hosts.items():
        for repository in repositories:
            assert "Read-only file system" in host.run("touch /cvmfs/%s/x", repository).stderr, name


def test_clients_start_by_themselves(
    stack: LiveStack, hosts: Mapping[str, Host], repositories: Mapping[str, Mapping[str, Any]]
) -> None:
    if stack.parts["cvmfs"]["client"] != "swfs":
        pytest.skip("the client is not swfs")
    for name, host in hosts.items():
        for unit in ("cvmfs.mount", *(f"swfs@{repository}.service" for repository in repositories)):
            assert host.service(unit).is_enabled, f"{name}: {unit}"
            assert host.service(unit).is_running, f"{name}: {unit}"


def test_sessions_have_their_claim_of_it(stack: LiveStack) -> None:
    namespace = f"--namespace={stack.parts['hub']['sessions_namespace']}"
    claim = json.loads(stack.kubectl("get", "persistentvolumeclaim", "cvmfs", namespace, "--output=json"))
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["accessModes"] == ["ReadOnlyMany"]


def test_the_proxy_serves_machines_and_what_they_mount(
    hosts: Mapping[str, Host], proxy: str, repositories: Mapping[str, Mapping[str, Any]]
) -> None:
    for name, host in hosts.items():
        for repository, given in repositories.items():
            if proxy in given["proxies"]:
                url = f"{given['servers'][0]}/{repository}/.cvmfspublished"
                assert host.check_output("python3 -c %s %s %s", _THROUGH_PROXY, proxy, url) == "200", name


@pytest.mark.parametrize("port", [80, 5000, 6443])
def test_the_proxy_leads_nowhere_else(stack: LiveStack, hosts: Mapping[str, Host], proxy: str, port: int) -> None:
    host, url = hosts[list(hosts)[-1]], f"http://{stack.parts['cluster']['address']}:{port}/"
    assert host.check_output("python3 -c %s %s %s", _THROUGH_PROXY, proxy, url) == "403"


def test_the_proxy_refuses_strangers(stack: LiveStack, http: requests.Session, proxy: str) -> None:
    http.proxies = {"http": proxy}
    part = stack.parts["software"]
    url = f"http://{stack.parts['cluster']['address']}:8000/cvmfs/{part.get('repository', 'x')}/.cvmfspublished"
    assert strangers.answer(http, url) in (403, None)

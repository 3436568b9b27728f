"""Homes and experiment data below /eos, on every machine and in every session."""

import json
import re
import socket
from collections.abc import Mapping
from typing import Any

import pytest
from testinfra.host import Host

from components.eos import PORT, home
from components.sign_in.user_ids import user_id
from tests.live.stack import LiveStack
from tests.live.waiting import until


@pytest.fixture
def part(stack: LiveStack) -> Mapping[str, Any]:
    """What the stack tells of it."""
    found = stack.parts["eos"]
    if found["client"] == "none":
        pytest.skip(f"the stack '{stack.name}' has no /eos")
    return found


@pytest.fixture
def server(stack: LiveStack, part: Mapping[str, Any]) -> Host:
    """The machine that serves it."""
    if "home_gib" not in part:
        pytest.skip(f"the stack '{stack.name}' has its homes from a server that is there already")
    return stack.host(stack.group("control_plane")[0])


@pytest.fixture
def people(stack: LiveStack) -> tuple[str, str]:
    """Two who have homes."""
    if len(stack.accounts) < 2:
        pytest.skip(f"the stack '{stack.name}' names nobody: its users are guests")
    first, second, *_ = stack.accounts
    return first, second


def as_user(name: str) -> str:
    """What a command begins with that is run as a session of this user would run it."""
    return f"setpriv --reuid={user_id(name)} --regid=100 --clear-groups --no-new-privs"


def test_every_machine_has_all_of_it_mounted(hosts: Mapping[str, Host], part: Mapping[str, Any]) -> None:
    for name, host in hosts.items():
        for mount in part["mounts"]:
            assert host.mount_point(mount["folder"]).filesystem.startswith("fuse"), f"{name}: {mount['folder']}"
            assert host.check_output("timeout 20 stat --format=%%F %s", mount["folder"]) == "directory", name


def test_clients_start_by_themselves(hosts: Mapping[str, Host], part: Mapping[str, Any]) -> None:
    if part["client"] != "xrdmount":
        pytest.skip("the client is not xrdmount")
    for name, host in hosts.items():
        for unit in ("eos.mount", *(f"xrdmount@{mount['name']}.service" for mount in part["mounts"])):
            assert host.service(unit).is_enabled, f"{name}: {unit}"
            assert host.service(unit).is_running, f"{name}: {unit}"


def test_everybody_has_a_home_and_nobody_another_ones(
    hosts: Mapping[str, Host], part: Mapping[str, Any], people: tuple[str, str]
) -> None:
    assert part["homes"] == "/eos/user"
    one, other = people
    for name, host in hosts.items():
        for mine, foreign in ((one, other), (other, one)):
            assert host.run(f"{as_user(mine)} ls --almost-all {home(mine)}").rc == 0, name
            theirs = home(foreign)
            for refused in (f"ls {theirs}", f"cat {theirs}/x", f"touch {theirs}/x", "ls /eos/user"):
                said = host.run(f"{as_user(mine)} {refused}").stderr
                assert "Permission denied" in said, f"{name}: {refused}: {said}"


def test_machines_own_root_reads_no_home(
    hosts: Mapping[str, Host], part: Mapping[str, Any], people: tuple[str, str]
) -> None:
    assert part
    for name, host in hosts.items():
        assert "Permission denied" in host.run(f"ls {home(people[0])}").stderr, name


def test_a_home_tells_its_quota(
    hosts: Mapping[str, Host], server: Host, part: Mapping[str, Any], people: tuple[str, str]
) -> None:
    assert server
    size = f"{as_user(people[0])} df --block-size=1 --output=size {home(people[0])} | tail -n 1"
    wanted = int(part["home_gib"] * 2**30)
    for name, host in hosts.items():
        until(lambda host=host: int(host.check_output(size)) == wanted, f"{name} tells the quota", seconds=50)


def test_every_home_has_a_limit(stack: LiveStack, server: Host, part: Mapping[str, Any]) -> None:
    shown = server.check_output("btrfs qgroup show -r --raw /srv/eos")
    limits = {name: limit for limit, name in re.findall(r"(\d+|none) +user/./(\S+) *$", shown, re.MULTILINE)}
    wanted = dict.fromkeys(stack.accounts, str(int(part["home_gib"] * 2**30)))
    assert {name: limits.get(name) for name in stack.accounts} == wanted


def test_what_homes_need_starts_by_itself(server: Host) -> None:
    for unit in ("xrootd@cygnet.service", "cygnet-xrootd-guard.service", "cygnet-homes.timer"):
        assert server.service(unit).is_enabled, unit
        assert server.service(unit).is_running, unit
    assert server.mount_point("/srv/eos").filesystem == "btrfs"


def test_machines_know_whom_the_hub_made_known(
    stack: LiveStack, hosts: Mapping[str, Host], part: Mapping[str, Any]
) -> None:
    if "guests" not in part:
        pytest.skip(f"the stack '{stack.name}' has no guests")
    namespace, _, name = part["guests"].partition("/")
    shown = stack.kubectl("get", "configmap", name, f"--namespace={namespace}", "--output=json")
    known = {guest: json.loads(said)["uid"] for guest, said in json.loads(shown).get("data", {}).items()}
    for machine, host in hosts.items():
        assert host.service("cygnet-guests").is_enabled, machine
        assert host.service("cygnet-guests").is_running, machine
        users = json.loads(host.file("/etc/cygnet/eos/users.json").content_string)
        assert {guest: one["uid"] for guest, one in users.items() if one.get("guest")} == known, machine


def test_nobody_but_the_hub_changes_the_list_of_guests(stack: LiveStack, part: Mapping[str, Any]) -> None:
    if "guests" not in part:
        pytest.skip(f"the stack '{stack.name}' has no guests")
    namespace, _, name = part["guests"].partition("/")
    there = f"configmap/{name} --namespace={namespace}"
    assert stack.may("hub:hub", f"patch {there}")
    assert not stack.may("hub:hub", f"delete {there}")
    for who in ("sessions:default", "gateway:default", "files:default"):
        assert not stack.may(who, f"get {there}"), who
        assert not stack.may(who, f"patch {there}"), who


def test_the_server_is_closed_to_strangers(stack: LiveStack, server: Host) -> None:
    assert server
    with pytest.raises(TimeoutError):
        socket.create_connection((stack.address(stack.group("control_plane")[0]), PORT), timeout=3)


def test_a_machine_without_the_key_is_refused(server: Host, part: Mapping[str, Any], people: tuple[str, str]) -> None:
    # Not as root, who gets at the key that the server names.
    nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups"
    asked = f"timeout 20 xrdfs {part['mounts'][0]['server']} ls {home(people[0])}/"
    another = "0 u:anybody g:usrgroup n:cygnet N:1 c:1 e:0 f:0 k:" + "ab" * 32
    for before in (
        "export XrdSecSSSKT=/nonexistent",
        f"umask 077; export XrdSecSSSKT=$(mktemp); echo '{another}' >$XrdSecSSSKT; "
        "chown nobody $XrdSecSSSKT; trap 'rm $XrdSecSSSKT' EXIT",
    ):
        done = server.run(f"{before}; {nobody} {asked}")
        assert done.rc != 0
        assert re.search(r"Auth failed|[Uu]nable to", done.stderr + done.stdout), done.stderr


def test_the_key_is_closed(hosts: Mapping[str, Host], part: Mapping[str, Any], server: Host) -> None:
    if part["client"] == "xrdmount":
        for name, host in hosts.items():
            (key,) = host.file("/etc/cygnet/eos/keys").listdir()
            file = host.file(f"/etc/cygnet/eos/keys/{key}")
            assert (file.mode, file.user) == (0o600, "root"), name
    file = server.file("/etc/cygnet/xrootd/sss.keytab")
    assert (file.mode, file.user) == (0o600, "xrootd")


def test_sessions_have_their_claim_of_it(stack: LiveStack, part: Mapping[str, Any]) -> None:
    assert part
    namespace = f"--namespace={stack.parts['hub']['sessions_namespace']}"
    claim = json.loads(stack.kubectl("get", "persistentvolumeclaim", "eos", namespace, "--output=json"))
    assert claim["status"]["phase"] == "Bound"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]

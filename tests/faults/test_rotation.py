"""Secrets are made anew under a running session, and what an intruder might know from before is refused."""

import argparse
import json
import socket
import ssl
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from requests import RequestException

from components.rotation import LASTING
from components.sources import files, ssh
from operations import rotate
from operations.stack import Stack
from software.keys import Keys
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, http_session
from tests.live.waiting import until

BY_NAME = "login"
"""What ends connections; all else is made anew."""

# A file that was opened before is written all the time, and each line counts when fsync has come back.
COUNT = """
import os, threading, time
count, failed, file = 0, None, open("counted", "w")
def go():
    global count, failed
    try:
        while True:
            file.write(f"{count}\\n")
            file.flush()
            os.fsync(file.fileno())
            count += 1
            time.sleep(0.1)
    except OSError as error:
        failed = error
threading.Thread(target=go, daemon=True).start()
"""
ASK_PROXY = """
import sys, urllib.error, urllib.request
asked = urllib.request.Request("http://proxy-api:8001/api/routes", headers={"Authorization": "token " + sys.argv[1]})
try:
    print(urllib.request.urlopen(asked).status)
except urllib.error.HTTPError as error:
    print(error.code)
"""

Secrets = Mapping[str, Mapping[str, Any]]
"""The outputs of each resource that is secret, by its type and name."""


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_sessions_go_on_and_what_was_known_before_is_refused(
    stack: LiveStack, started: Callable[[str], Visitor], tmp_path: Path
) -> None:
    physicist = started("physicist")
    kernel = physicist.kernel()
    kernel.run(COUNT)
    (identity,) = physicist.kernels()
    pod, served, before = session(stack), certificate(stack), secrets(stack)
    names = [name for name in rotate.there(rotate.exported(Stack(stack.name))) if name != BY_NAME]

    rotate.run(argparse.Namespace(stack=stack.name, what=names, dry_run=False))

    now = LiveStack.of(stack.name, Stack(stack.name).outputs(), stack.folder)
    after = secrets(now)
    until(physicist.kernels, "the session can be reached", seconds=90, through=RequestException)
    kernel = physicist.kernel(identity)
    counted = int(kernel.run("print(count)"))
    until(lambda: int(kernel.run("print(count)")) > counted, "it goes on", seconds=30)
    assert kernel.run("print(failed)") == "None\n"
    assert session(now) == pod
    assert certificate(now) != served
    kernel.close()

    for name, values in before.items():
        assert (after[name] == values) == (values["rotates"] in {*LASTING, BY_NAME}), name
        assert not after[name].get("former"), name
    people(now, physicist, former=stack.accounts["physicist"])
    registry(now, before, after)
    machines(now, before["KeyPair operator"]["private_key"], tmp_path)
    homes(now, before["Keytab eos"]["value"])
    software(now, before, after)
    proxy(now, before, after)


def secrets(stack: LiveStack) -> Secrets:
    """What the stack's state has of each, in plain text."""
    exported = json.loads(Stack(stack.name).pulumi("stack", "export", "--show-secrets", capture=True))
    return {
        f"{one['type'].rpartition(':')[2]} {one['urn'].rpartition('::')[2]}": {
            key: json.loads(value["plaintext"]) if isinstance(value, dict) and "plaintext" in value else value
            for key, value in one["outputs"].items()
            if key not in ("__provider", "rotation", "forget", "authority", "authority_key")
        }
        for one in exported["deployment"]["resources"]
        if "rotates" in one.get("inputs", {})
    }


def session(stack: LiveStack) -> str:
    pod = stack.session_pod("physicist")
    assert pod
    return str(pod["metadata"]["uid"])


def certificate(stack: LiveStack) -> bytes:
    """What the gateway shows to who comes by its address."""
    host = stack.url.removeprefix("https://").partition(":")
    context = ssl.create_default_context(cafile=str(stack.ca_file))
    with (
        socket.create_connection((host[0], int(host[2] or 443)), timeout=10) as line,
        context.wrap_socket(line, server_hostname=host[0]) as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


def people(now: LiveStack, physicist: Visitor, *, former: str) -> None:
    home = physicist.http.get(f"{now.url}/hub/home", allow_redirects=False, timeout=30, verify=str(now.ca_file))
    assert "/hub/login" in home.headers["Location"], "by the cookie of before"
    assert Visitor(now, "physicist").sign_in().url == f"{now.url}/hub/home"
    assert Visitor(now, "physicist").sign_in(former).status_code == 403


def registry(now: LiveStack, before: Secrets, after: Secrets) -> None:
    there = f"https://{now.address(now.group('control_plane')[0])}:5000/v2/"
    passwords = [known["Passwords registry"]["values"]["node"] for known in (before, after)]
    http = http_session(now.ca_file)
    assert [http.get(there, auth=("node", one), timeout=10).status_code for one in passwords] == [401, 200]


def machines(now: LiveStack, former: str, folder: Path) -> None:
    files.write(folder / "key", former, 0o600)
    ways = ssh.access(folder, now.machines.values(), folder / "key")
    for name, machine in now.machines.items():
        assert now.host(name).run("true").rc == 0, name
        told = ["ssh", "-F", str(ways), "-p", str(machine["port"]), f"{machine['user']}@{machine['address']}", "true"]
        assert "Permission denied" in subprocess.run(told, capture_output=True, text=True, check=False).stderr, name


def homes(now: LiveStack, former: str) -> None:
    server = now.host(now.group("control_plane")[0])
    asked = f"timeout 20 xrdfs {now.parts['eos']['mounts'][0]['server']} ls {now.home('physicist')}/"
    given = (
        f"umask 077; export XrdSecSSSKT=$(mktemp); trap 'rm $XrdSecSSSKT' EXIT; echo '{former.strip()}' >$XrdSecSSSKT"
    )
    done = server.run(f"{given}; {asked}")
    assert done.rc != 0
    assert "uth failed" in done.stderr + done.stdout


def software(now: LiveStack, before: Secrets, after: Secrets) -> None:
    told = now.parts["software"]
    read = f"import urllib.request as u; print(u.urlopen('{told['url']}/{told['repository']}/.cvmfswhitelist').read())"
    whitelist = now.host(now.group("control_plane")[0]).check_output("python3 -c %s", read)
    signers = [Keys("", "", known["RepositoryKeys software"]["certificate"]).fingerprint for known in (before, after)]
    assert [signer in whitelist for signer in signers] == [False, True]


def proxy(now: LiveStack, before: Secrets, after: Secrets) -> None:
    hub = f"--namespace={now.parts['hub']['namespace']}"
    tokens = [known["Token hub-proxy-token"]["value"] for known in (before, after)]
    asked = [now.kubectl("exec", hub, "deployment/hub", "--", "python3", "-c", ASK_PROXY, one) for one in tokens]
    assert asked == ["403\n", "200\n"]

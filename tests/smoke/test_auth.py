"""Who may sign in."""

import json
import secrets
from base64 import b64decode
from collections.abc import Mapping

import pytest
from testinfra.host import Host

from tests.live.stack import LiveStack
from tests.live.visitor import Visitor


def test_a_stranger_is_refused(stack: LiveStack) -> None:
    # Not a person's name: wrong passwords would make that person wait.
    stranger = Visitor(stack, f"nobody-{secrets.token_hex(4)}")
    page = stranger.sign_in(secrets.token_hex(8))
    if stack.parts["auth"]["kind"] == "keycloak":
        assert "Invalid username or password" in page.text
    else:
        assert page.status_code in (403, 429)  # the latter after many tries, as of a monitoring probe
        assert page.url.startswith(f"{stack.url}/hub/login")
    assert stranger.http.get(f"{stack.url}/hub/home", timeout=30).url.startswith(f"{stack.url}/hub/login")


def test_every_account_has_a_long_password_of_its_own(stack: LiveStack) -> None:
    assert min(len(password) for password in stack.accounts.values()) >= 12
    assert len(set(stack.accounts.values())) == len(stack.accounts)


@pytest.mark.usefixtures("keycloak_only")
@pytest.mark.parametrize("path", ["/admin/", "/realms/master", "/realms/cygnet/account"])
def test_of_a_keycloak_only_signing_in_is_public(stack: LiveStack, path: str) -> None:
    answer = Visitor(stack, "nobody").http.get(f"{stack.url}{path}", timeout=30)
    assert answer.status_code == 404
    assert "X-JupyterHub-Version" in answer.headers


@pytest.mark.usefixtures("keycloak_only")
def test_a_keycloak_has_no_rights_and_answers_health_checks(stack: LiveStack) -> None:
    (pod,) = json.loads(stack.kubectl("get", "pods", "--namespace", "keycloak", "-o", "json"))["items"]
    assert all(one["ready"] for one in pod["status"]["containerStatuses"])
    for container in pod["spec"]["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["runAsNonRoot"]
    assert not pod["spec"]["automountServiceAccountToken"]


@pytest.mark.usefixtures("keycloak_only")
def test_passwords_and_the_clients_secret_are_where_they_are_needed(stack: LiveStack) -> None:
    found = json.loads(stack.kubectl("get", "configmaps,secrets,pods", "--all-namespaces", "-o", "json"))["items"]
    hub = stack.parts["hub"]["namespace"]
    (secret,) = [
        one for one in found
        if (one["kind"], one["metadata"]["namespace"], one["metadata"]["name"]) == ("Secret", hub, "hub")
    ]  # fmt: skip
    client = b64decode(secret["data"]["oidc-client-secret"]).decode()
    for one in found:
        text = json.dumps(one)
        data = (
            " ".join(b64decode(value).decode(errors="replace") for value in (one.get("data") or {}).values())
            if one["kind"] == "Secret"
            else text
        )
        assert one is secret or client not in data, one["metadata"]["name"]
        assert not any(password in data for password in stack.accounts.values()), one["metadata"]["name"]


def test_administrators_have_accounts(stack: LiveStack) -> None:
    assert set(stack.admins) <= set(stack.accounts)


@pytest.mark.usefixtures("accounts_only")
def test_the_hub_knows_hashes_and_no_password(stack: LiveStack) -> None:
    secret = json.loads(
        stack.kubectl("get", "secret", "hub", "--namespace", stack.parts["hub"]["namespace"], "-o", "json")
    )
    contents = {key: b64decode(value).decode() for key, value in secret["data"].items()}
    hashes = [account["hash"] for account in json.loads(contents["accounts.json"]).values()]
    assert [hashed for hashed in hashes if not hashed.startswith("$argon2id$")] == []
    assert [
        name for name, password in stack.accounts.items() if any(password in text for text in contents.values())
    ] == []


def test_processes_and_logs_tell_no_secret(stack: LiveStack, hosts: Mapping[str, Host]) -> None:
    """What is looked for stays here: on a machine it would stand in a command line itself."""
    known = {f"the password of {name}": password for name, password in stack.accounts.items()}
    for one in stack.items("secrets"):
        namespace, name = (one["metadata"][key] for key in ("namespace", "name"))
        for key, value in one.get("data", {}).items():
            text = b64decode(value).decode(errors="replace").strip()
            # Of what has lines, such as a key in PEM, one from the middle; what is short is no secret.
            piece = max(text.splitlines(), key=len, default="")
            if len(piece) >= 16 and "-----BEGIN CERTIFICATE" not in text:  # which is for everybody to see
                known[f"{key} of {namespace}/{name}"] = piece
    said = {f"processes of {name}": host.check_output(_COMMAND_LINES) for name, host in hosts.items()}
    said |= {f"logs of {name}": host.check_output(_LOGS) for name, host in hosts.items()}
    found = [f"{what}: {where}" for what, secret in known.items() for where, text in said.items() if secret in text]
    assert found == []


_COMMAND_LINES = "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '"
_LOGS = "cat /var/log/pods/*/*/*.log 2>/dev/null; journalctl --output=cat --since=-1h"
"""All that containers said as long as they run, and all that units said in the last hour."""

"""Brings a Keycloak's realm to what is declared, and tells what in it is not: by its administration, through kubectl.

Its administration is open to nobody outside: it is reached by a port of this computer that Kubernetes' API forwards.

What somebody changed there by hand stays: before a new declaration is brought about, the realm is compared with the
last one, and where they differ nothing is changed.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from keycloak import KeycloakAdmin, KeycloakOpenIDConnection
from keycloak.exceptions import KeycloakAuthenticationError, KeycloakGetError

from components.errors import CygnetError
from components.sign_in.keycloak_realm import (
    CLIENT,
    MADE,
    NO_REMOVAL,
    REALM,
    SECOND_FACTOR,
    comparable,
    differences,
)
from engine import tools

NAMESPACE = "keycloak"
ADMINISTRATOR = "cygnet"
"""Name of the service account that Keycloak makes at its first start."""

Declared = Mapping[str, Any]
"""A realm, as `keycloak_realm.declared` gives it."""


class RealmDriftError(CygnetError):
    """Somebody changed the realm by hand; the message lists what."""


@contextmanager
def administration(kubeconfig: str, secret: str, *, former: str | None = None) -> Iterator[KeycloakAdmin]:
    """The administration of a stack's Keycloak, while the port is forwarded.

    Args:
        kubeconfig: Of the cluster.
        secret: Of the administrator.
        former: The administrator's secret until now, where it may still be that.
    """
    with tempfile.NamedTemporaryFile("w", prefix="cygnet-", suffix=".kubeconfig") as file:
        os.chmod(file.name, 0o600)
        file.write(kubeconfig)
        file.flush()
        argv = [str(tools.path("kubectl")), f"--kubeconfig={file.name}", f"--namespace={NAMESPACE}", "port-forward"]
        with subprocess.Popen(
            [*argv, "--address=127.0.0.1", "deployment/keycloak", ":8080"], stdout=subprocess.PIPE, text=True
        ) as forward:
            try:
                url = f"http://127.0.0.1:{_port(forward)}"
                if former not in (None, secret):
                    change_secret(url, str(former), secret)
                yield sign_in(url, secret)
            finally:
                forward.terminate()


def _port(forward: "subprocess.Popen[str]") -> int:
    line = forward.stdout.readline() if forward.stdout else ""
    if found := re.match(r"Forwarding from 127\.0\.0\.1:(\d+)", line):
        return int(found.group(1))
    raise CygnetError(
        "Keycloak cannot be reached through Kubernetes: kubectl port-forward ended. See "
        f"`kubectl --namespace {NAMESPACE} get pods`; when it runs again, repeat the command."
    )


def sign_in(url: str, secret: str) -> KeycloakAdmin:
    """The administration of the Keycloak at an address, for the service account."""
    connection = KeycloakOpenIDConnection(
        server_url=url,
        realm_name=REALM,
        user_realm_name="master",
        client_id=ADMINISTRATOR,
        client_secret_key=secret,
        timeout=60,
    )
    return KeycloakAdmin(connection=connection)


def change_secret(url: str, former: str, secret: str) -> None:
    """Gives the administrator another secret; nothing is to be done where the former one is refused already."""
    admin = sign_in(url, former)
    try:
        (own,) = (one for one in _clients_of_master(admin) if one["clientId"] == ADMINISTRATOR)
    except KeycloakAuthenticationError:
        return
    admin.update_client(own["id"], {**own, "secret": secret})


def _clients_of_master(admin: KeycloakAdmin) -> list[dict[str, Any]]:
    admin.change_current_realm("master")
    found: list[dict[str, Any]] = admin.get_clients()
    return found


def bring_about(admin: KeycloakAdmin, declared: Declared, before: Declared | None, *, compare: bool = True) -> None:
    """Makes the realm what is declared.

    Args:
        admin: Of the Keycloak.
        declared: What is to be.
        before: What was declared last; of that, what is no longer declared goes. None: nothing was.
        compare: Whether what differs from it is left alone, for somebody changed it by hand.

    Raises:
        RealmDriftError: Something does; nothing is changed.
    """
    if not is_there(admin):
        admin.create_realm(dict(declared["realm"]))
    elif compare and before is not None and (drift := drifted(admin, before)):
        raise RealmDriftError(
            "\n  ".join(["The realm was changed by hand, and is left as it is:", *drift])
            + "\nSee `cygnet realm STACK`; undo that there with `--restore`, or say it in the stack file as well."
        )
    admin.update_realm(REALM, dict(declared["realm"]))
    # Whoever has to have a second factor cannot take it away again.
    admin.update_required_action(NO_REMOVAL, {"alias": NO_REMOVAL, "providerId": NO_REMOVAL, "enabled": False})
    _bring_client(admin, declared["client"])
    _bring_groups(admin, declared["groups"], before["groups"] if before else {})
    _bring_users(admin, declared["users"], before["users"] if before else {})


def restore(admin: KeycloakAdmin, declared: Declared) -> None:
    """Undoes what was changed by hand: settings, and groups, users and clients that nobody declared."""
    found = snapshot(admin)
    for name in found["clients"].keys() - {*declared["clients"]}:
        admin.delete_client(found["clients"][name]["id"])
    bring_about(admin, declared, {**declared, "users": found["users"], "groups": found["groups"]}, compare=False)


def is_there(admin: KeycloakAdmin) -> bool:
    """Whether the realm was made."""
    try:
        return bool(admin.get_realm(REALM))
    except KeycloakGetError as error:
        if error.response_code == 404:
            return False
        raise


def drifted(admin: KeycloakAdmin, declared: Declared) -> list[str]:
    """What in the realm is not as declared, a line for each; what is there besides, such as a user, counts."""
    found = snapshot(admin)
    lines = [
        *differences(comparable(declared["realm"]), comparable(found["realm"]), "realm"),
        *differences(comparable(declared["client"]), comparable(found["client"]), f"client {CLIENT}"),
    ]
    for what in ("groups", "users", "clients"):
        lines += [f"{what}: {name} is there" for name in sorted(found[what].keys() - {*declared[what]})]
        lines += [f"{what}: {name} is not there" for name in sorted({*declared[what]} - found[what].keys())]
    for name, user in declared["users"].items():
        if name in found["users"]:
            wanted = {"enabled": True, "groups": [group.strip("/") for group in user["groups"]]}
            lines += differences(wanted, found["users"][name], f"user {name}")
    return lines


def snapshot(admin: KeycloakAdmin) -> dict[str, Any]:
    """The realm as it is: its settings, the hub's client, and its users, groups and clients by name."""
    clients = {one["clientId"]: one for one in admin.get_clients()}
    return {
        "realm": admin.get_realm(REALM),
        "client": clients.get(CLIENT, {}),
        "clients": {name: one for name, one in clients.items() if name not in _OWN_CLIENTS},
        "groups": {one["name"]: one for one in admin.get_groups()},
        "users": {
            one["username"]: {
                "id": one["id"],
                "enabled": one["enabled"],
                "groups": [group["name"] for group in admin.get_user_groups(one["id"])],
            }
            for one in admin.get_users({"max": -1})
        },
    }


_OWN_CLIENTS = ("account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console")
"""Those that Keycloak makes in every realm."""


def _bring_client(admin: KeycloakAdmin, client: Mapping[str, Any]) -> None:
    found = {one["clientId"]: one for one in admin.get_clients()}.get(CLIENT)
    if found is None:
        admin.create_client(dict(client))
    else:
        # Mappers are changed at an address of their own, and these never are.
        changed = {key: value for key, value in client.items() if key != "protocolMappers"}
        # Older ones kept the address of the root as this one, too; newer ones refuse a client that has it so.
        admin.update_client(found["id"], {**changed, "adminUrl": ""})


def _bring_groups(admin: KeycloakAdmin, groups: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    ids = {one["name"]: one["id"] for one in admin.get_groups()}
    for name in groups:
        if name not in ids:
            admin.create_group({"name": name})
    for name in before:
        if name not in groups and name in ids:
            admin.delete_group(ids[name])


def _bring_users(admin: KeycloakAdmin, users: Mapping[str, Any], before: Mapping[str, Any]) -> None:
    accounts = {one["username"]: one for one in admin.get_users({"max": -1})}
    groups = {one["name"]: one["id"] for one in admin.get_groups()}
    for name, user in users.items():
        if name not in accounts:
            admin.create_user(dict(user))
            continue
        identity = accounts[name]["id"]
        wanted = {group.strip("/") for group in user["groups"]}
        mine = {one["name"] for one in admin.get_user_groups(identity)}
        for group in wanted - mine:
            admin.group_user_add(identity, groups[group])
        for group in mine - wanted:
            admin.group_user_remove(identity, groups[group])
        changed: dict[str, Any] = {"enabled": True, "requiredActions": _actions(admin, accounts[name], user)}
        # Those that a realm has, it does not tell: where `before` is what was found there, they stay.
        declared = before.get(name, user).get("credentials", user["credentials"])
        if user["credentials"] != declared and _has_the_password_made(admin, identity):
            changed["credentials"] = user["credentials"]
        if any(accounts[name].get(key) != value for key, value in changed.items()):
            admin.update_user(identity, {**accounts[name], **changed})
    for name in before:
        if name not in users and name in accounts:
            admin.delete_user(accounts[name]["id"])


def _has_the_password_made(admin: KeycloakAdmin, identity: str) -> bool:
    """Whether a user has the password that the stack made, and none of the user's own choice."""
    return any(one["type"] == "password" and one.get("userLabel") == MADE for one in admin.get_credentials(identity))


def _actions(admin: KeycloakAdmin, known: Mapping[str, Any], user: Mapping[str, Any]) -> list[str]:
    """What a user has to do at the next sign-in: whatever it is already, and a second factor that is still missing."""
    actions = [action for action in known.get("requiredActions", ()) if action != SECOND_FACTOR]
    if SECOND_FACTOR in user["requiredActions"]:
        has_one = any(one["type"] == "otp" for one in admin.get_credentials(known["id"]))
        actions += [] if has_one else [SECOND_FACTOR]
    return actions


def read(text: str) -> dict[str, Any]:
    """A declaration from its text."""
    declared: dict[str, Any] = json.loads(text)
    return declared

"""The realm of the stack's own Keycloak, as Keycloak's administration takes it: settings, groups, client, users."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from argon2 import extract_parameters

REALM = "cygnet"
CLIENT = "hub"
SECOND_FACTOR = "CONFIGURE_TOTP"
"""Keycloak's name for what a user has to set up before the first sign-in is complete."""

NO_REMOVAL = "delete_credential"
"""Keycloak's action by which users would take away their own second factor; it is off."""

MADE = "made by the service"
"""Label of passwords that the stack made; one that a user chose in place of it has none."""

_MINUTE, _HOUR = 60, 3600


def declared(
    realm: Mapping[str, Any], client: Mapping[str, Any], users: Mapping[str, Any], groups: Sequence[str]
) -> dict[str, Any]:
    """All of the realm, by what is compared with each other."""
    return {
        "realm": realm,
        "client": client,
        "clients": {CLIENT: client},
        "users": users,
        "groups": {name: {} for name in sorted(groups)},
    }


def realm(title: str, *, session_hours: float, password_length: int) -> dict[str, Any]:
    """Its settings.

    Args:
        title: What the sign-in page says on top.
        session_hours: After which everybody signs in again, however busy.
        password_length: Characters at least, of passwords that users choose.
    """
    seconds = round(session_hours * _HOUR)
    return {
        "realm": REALM,
        "enabled": True,
        "displayName": title,
        # Inside the cluster the hub comes by HTTP, and says what the gateway would.
        "sslRequired": "external",
        "registrationAllowed": False,
        "resetPasswordAllowed": False,  # there is no way to send mail
        "editUsernameAllowed": False,
        "loginWithEmailAllowed": False,
        "rememberMe": False,
        "accessTokenLifespan": 10 * _MINUTE,
        "ssoSessionIdleTimeout": seconds,
        "ssoSessionMaxLifespan": seconds,
        "passwordPolicy": f"length({password_length}) and notUsername(undefined) and passwordHistory(3)",
        # Five wrong passwords are free; then each costs a minute more, fifteen at most, and half a day forgets them.
        "bruteForceProtected": True,
        "permanentLockout": False,
        "failureFactor": 5,
        "waitIncrementSeconds": _MINUTE,
        "maxFailureWaitSeconds": 15 * _MINUTE,
        "minimumQuickLoginWaitSeconds": _MINUTE,
        "quickLoginCheckMilliSeconds": 1000,
        "maxDeltaTimeSeconds": 12 * _HOUR,
        "eventsEnabled": True,
        "eventsExpiration": 30 * 24 * _HOUR,
        "adminEventsEnabled": True,
    }


def client(secret: str) -> dict[str, Any]:
    """The hub, as a client: with its secret, for people in browsers, and nothing else."""
    return {
        "clientId": CLIENT,
        "name": "The hub",
        "enabled": True,
        "protocol": "openid-connect",
        "publicClient": False,
        "secret": secret,
        "standardFlowEnabled": True,
        "directAccessGrantsEnabled": False,
        "serviceAccountsEnabled": False,
        "fullScopeAllowed": False,
        # Where the browser is, whatever name and port that has: at the end of a tunnel, too.
        "rootUrl": "${authBaseUrl}",
        "redirectUris": ["/hub/oauth_callback"],
        "attributes": {"post.logout.redirect.uris": "/hub/login", "pkce.code.challenge.method": "S256"},
        "protocolMappers": [
            {
                "name": "groups",
                "protocol": "openid-connect",
                "protocolMapper": "oidc-group-membership-mapper",
                "config": {
                    "claim.name": "groups",
                    "full.path": "false",
                    "access.token.claim": "true",
                    "id.token.claim": "true",
                    "userinfo.token.claim": "true",
                    "introspection.token.claim": "true",
                },
            }
        ],
    }


def user(name: str, hashed: str, *, groups: Sequence[str], second_factor: bool) -> dict[str, Any]:
    """A user, with the hash of a password, as when the user is made.

    Args:
        name: Of the user.
        hashed: Argon2id, in the usual text form.
        groups: Of which the user is a member.
        second_factor: Whether one has to be set up at the first sign-in.
    """
    return {
        "username": name,
        "enabled": True,
        "groups": [f"/{group}" for group in sorted(groups)],
        "requiredActions": [SECOND_FACTOR] if second_factor else [],
        "credentials": [password(hashed)],
        # Keycloak asks for these otherwise, on a page of its own.
        "email": f"{name}@cygnet.invalid",
        "emailVerified": True,
        "firstName": name,
        "lastName": "-",
    }


def password(hashed: str) -> dict[str, Any]:
    """An Argon2 hash as Keycloak keeps it: the password itself does not come here.

    >>> known = "$argon2id$v=19$m=64,t=3,p=4$c2FsdHNhbHQ$aGFzaA"
    >>> json.loads(password(known)["secretData"])
    {'value': 'aGFzaA==', 'salt': 'c2FsdHNhbHQ='}
    """
    parameters = extract_parameters(hashed)
    salt, value = (_padded(part) for part in hashed.split("$")[-2:])
    version = {16: "1.0", 19: "1.3"}[parameters.version]
    additional = {
        "hashLength": [str(len(base64.b64decode(value)))],
        "memory": [str(parameters.memory_cost)],
        "type": ["id"],
        "version": [version],
        "parallelism": [str(parameters.parallelism)],
    }
    data = {"hashIterations": parameters.time_cost, "algorithm": "argon2", "additionalParameters": additional}
    return {
        "type": "password",
        "userLabel": MADE,
        "secretData": json.dumps({"value": value, "salt": salt}),
        "credentialData": json.dumps(data),
    }


def _padded(part: str) -> str:
    return part + "=" * (-len(part) % 4)


def comparable(given: Any) -> Any:
    """The same, with lists of named things as mappings by name."""
    if isinstance(given, Mapping):
        return {key: comparable(value) for key, value in given.items()}
    if isinstance(given, list) and given and all(isinstance(one, Mapping) and "name" in one for one in given):
        return {one["name"]: comparable(one) for one in given}
    return given


def differences(declared: Any, found: Any, where: str = "") -> list[str]:
    """Where what was found is not what was declared, in words; what was not declared may be anything.

    >>> differences({"enabled": True, "attributes": {"a": "1"}}, {"enabled": False, "attributes": {"a": "1", "b": ""}})
    ['enabled is false, not true']
    """
    if isinstance(declared, Mapping) and isinstance(found, Mapping):
        return [
            line
            for key, value in declared.items()
            for line in differences(value, found.get(key), f"{where}.{key}".lstrip("."))
        ]
    if isinstance(declared, list) and isinstance(found, list):
        declared, found = sorted(declared), sorted(found)
    if declared == found:
        return []
    if where.endswith("secret"):
        return [f"{where} is another one"]
    return [f"{where} is {json.dumps(found)}, not {json.dumps(declared)}"]

"""Sign-in with accounts: the hub checks passwords against hashes in a file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi

from components.sign_in.provided import Provided
from components.sign_in.user_ids import user_id


def provide(
    hashes: pulumi.Output[dict[str, str]], admins: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> Provided:
    """The kind `accounts`.

    Args:
        hashes: Argon2id, by name; secret.
        admins: Names of operators.
        groups: The names in each.
    """
    written = hashes.apply(lambda known: json.dumps(accounts_file(known, admins, groups), sort_keys=True))
    return Provided({"kind": "accounts"}, secrets_read_again={"accounts.json": written})


def accounts_file(
    hashes: Mapping[str, str], admins: Sequence[str], groups: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """What the hub's authenticator reads: by name a password's hash, whether it is an operator's, groups, and user id.

    >>> accounts_file({"ada": "$argon2id$..."}, ["ada"], {"lab": ["ada"]})
    {'ada': {'hash': '$argon2id$...', 'admin': True, 'groups': ['lab'], 'uid': 1039090445}}
    """
    return {
        name: {
            "hash": hashed,
            "admin": name in admins,
            "groups": [group for group, members in groups.items() if name in members],
            "uid": user_id(name),
        }
        for name, hashed in hashes.items()
    }

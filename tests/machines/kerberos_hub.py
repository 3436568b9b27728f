"""A real hub whose users sign in with passwords of a real realm, and what a session asks of it."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.live.ports import free_ports
from tests.machines.kdc import REALM, Kdc
from tests.unit.running_hub import Someone, running_hub

_KEY = "0" * 64
_SECRETS = {"proxy_token": "t" * 32, "cookie_secret": _KEY, "crypt_key": _KEY}
_SESSIONS = {"image": "i", "size": {"cores": 1, "memory_gib": 1}, "eos_claim": "eos"}


def password(name: str) -> str:
    """A user's own in the realm."""
    return f"{name}'s own"


@contextmanager
def hub(
    kdc: Kdc, folder: Path, names: Sequence[str], groups: Mapping[str, Sequence[str]], rights: Mapping[str, Any]
) -> Iterator[str]:
    """Its address.

    Args:
        kdc: The realm.
        folder: Where it may keep what it keeps, in `hub`.
        names: Who may sign in.
        groups: The names in each.
        rights: What these may.
    """
    keytab = folder / "keytab.base64"
    keytab.write_text(base64.b64encode(kdc.keytab("cygnet/hub").read_bytes()).decode())
    auth = {"kind": "kerberos", "realm": REALM, "names": names, "groups": groups, "rights": rights}
    settings = {"proxy_host": "127.0.0.1", "auth": auth, "sessions": _SESSIONS}
    realm = f"Realm({REALM!r}, Path({str(kdc.config)!r}), Path({str(keytab)!r}))"
    more = f"\nfrom cygnet_hub.kerberos_realm import Realm\nc.KerberosAuthenticator.realm = {realm}\n"
    home = folder / "hub"
    home.mkdir()
    (port,) = free_ports(1)
    with running_hub(home, port, settings, _SECRETS, {}, more=more) as address:
        yield address


def of_session(someone: Someone) -> tuple[str, str]:
    """What a session of theirs asks the hub by: its address, and the session's token."""
    made = someone.api("POST", f"users/{someone.name}/tokens", json={"note": "session"})
    return f"{someone.hub}/hub/api", made.json()["token"]

"""Which secrets of a stack `cygnet rotate` makes anew, by name, and what people notice of it.

Every resource of `components.secrets` says to which of these names it belongs, or that it stays (`LASTING`). Which of
them this run of the program makes anew stands in the environment: an input of each, `rotation`, is then another one
than the last time, and with nothing asked for it is empty and says nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

VARIABLE: Final = "CYGNET_ROTATE"
"""The variable of the environment that names what is made anew: a mark of this rotation, then the names."""

FORGET: Final = "CYGNET_FORGET"
"""Set when all have the new secrets: the former ones, which were kept so long, go."""


@dataclass(frozen=True)
class Rotated:
    """Secrets that are made anew together."""

    what: str
    noticed: str
    """Who notices what."""
    by_name_only: bool = False
    """Whether it has to be asked for by its name: everybody has to do something, or connections end."""


SECRETS: Final[Mapping[str, Rotated]] = {
    "accounts": Rotated(
        "the passwords of accounts and seats",
        "everybody needs the new one at the next sign-in, of `cygnet accounts`; who chose one in Keycloak keeps it",
    ),
    "authority": Rotated(
        "the stack's certificate authority, and all that it issued",
        "whoever trusted the former one has to trust the new one; open pages connect anew within seconds",
        by_name_only=True,
    ),
    "eos": Rotated(
        "the key with which machines come to the stack's server of homes",
        "files stand still for a few seconds while the server starts anew; what is open stays open",
    ),
    "files": Rotated(
        "what tells the page of files that a request comes from the gateway",
        "the page of files is away for some seconds, and an upload goes on after that",
    ),
    "gateway": Rotated(
        "the gateway's certificate, and that by which it makes its own for names",
        "open pages connect anew within seconds; browsers trust it as before",
    ),
    "hub": Rotated(
        "the hub's keys: for cookies, for what it keeps of sign-ins, and for its proxy",
        "everybody signs in once more when opening the hub's pages; JupyterLab connects anew within seconds",
    ),
    "keycloak": Rotated(
        "the secrets of Keycloak's administrator and of the hub, as its client",
        "a sign-in in these seconds has to be repeated",
    ),
    "login": Rotated(
        "the key by which SSH clients know the login machine",
        "open SSH connections end, and SSH warns of another key until the new one is known",
        by_name_only=True,
    ),
    "machines": Rotated("the operator's SSH key, which opens the machines", "nobody anything"),
    "registry": Rotated("the registry's password and certificate", "nobody anything"),
    "spark": Rotated(
        "the secrets of standalone clusters for Spark",
        "drivers there lose their executors, and their users start the session anew",
        by_name_only=True,
    ),
    "software": Rotated("the key with which publications of software are signed", "nobody anything"),
}

LASTING: Final[Mapping[str, str]] = {
    "encryption": "etcd's Secrets are encrypted with it: all servers of Kubernetes' API would start anew, three times, "
    "and every Secret would be written anew between; whoever has etcd's disk has this key, too",
    "host": "by it a machine is known; a machine that is made anew (`cygnet renew`) has another one",
}
"""What is not made anew while it is in use, and why."""


def mark(name: str) -> str:
    """The mark of this run for secrets of a name; empty: they are kept."""
    asked, *names = os.environ.get(VARIABLE, "").split() or [""]
    return asked if name in names else ""


def forgets() -> bool:
    """Whether this run lets former secrets go."""
    return FORGET in os.environ


def inputs(name: str) -> dict[str, Any]:
    """What a resource is told: the name it belongs to, and whether it is made anew."""
    if name not in SECRETS and name not in LASTING:
        raise AssertionError(f"{name} is none of rotation.SECRETS, nor of rotation.LASTING")
    return {"rotates": name, "rotation": mark(name), "forget": forgets()}


def is_asked(olds: Mapping[str, Any], news: Mapping[str, Any]) -> bool:
    """Whether a resource is to be made anew: it is marked, and was not yet with this mark."""
    asked = news.get("rotation", "")
    return asked not in ("", olds.get("rotation", ""))

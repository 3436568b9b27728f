"""Who may sign in: named accounts, and generated seats for a course; their groups, and their numbers on machines."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import pulumi
from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig
from components.secrets import Passwords

AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
GroupName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]

# Above what Debian gives to people, services and systemd; below what a signed number of 32 bits holds.
_FIRST_USER_ID = 2**16
_USER_IDS = 2**30


class AuthConfig(PartConfig):
    """What a stack says about sign-in, under `cygnet:auth`."""

    kind: Annotated[Literal["accounts"], Field(description="How people sign in; accounts: names and passwords")] = (
        "accounts"
    )
    accounts: Annotated[
        tuple[AccountName, ...],
        Field(description="Names of people; lower-case letters, digits and '-', 31 at most"),
    ] = ("physicist",)
    admins: Annotated[
        tuple[AccountName, ...], Field(description="Names of people who may see and stop all sessions")
    ] = ("operator",)
    seats: Annotated[
        int, Field(ge=0, le=500, description="How many seat accounts to make: seat-001, seat-002, ...")
    ] = 0
    groups: Annotated[
        dict[GroupName, tuple[AccountName, ...]],
        Field(description="Groups of accounts, by name; experiment data is opened to them"),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AuthConfig":
        names = account_names(self)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}; keep each name in one place")
        if not names:
            raise ValueError("nobody could sign in; name someone in 'accounts' or 'admins', or set 'seats'")
        return self

    @model_validator(mode="after")
    def _user_ids_are_unique(self) -> "AuthConfig":
        if pair := same_user_id(account_names(self)):
            raise ValueError(
                f"{pair[0]} and {pair[1]} would have the same user id on machines ({user_id(pair[0])}), and so each "
                "other's files; give one of them another name"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_of_accounts(self) -> "AuthConfig":
        names = set(account_names(self))
        unknown = {group: missing for group, members in self.groups.items() if (missing := sorted({*members} - names))}
        if unknown:
            found = "; ".join(f"{group}: {', '.join(missing)}" for group, missing in unknown.items())
            raise ValueError(f"groups name people without an account ({found}); add them to 'accounts', or remove them")
        return self


class Auth(pulumi.ComponentResource):
    """Makes a password for every account, once.

    Gives `passwords` (by name, secret) and `hashes` (Argon2id, by name, secret), `kind`, `admins`, `user_ids` (by name)
    and `groups` (the names in each).
    """

    passwords: pulumi.Output[dict[str, str]]
    hashes: pulumi.Output[dict[str, str]]
    kind: str
    admins: list[str]
    user_ids: dict[str, int]
    groups: dict[str, list[str]]

    def __init__(self, name: str, config: AuthConfig, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cygnet:index:Auth", name, None, opts)
        made = Passwords(name, account_names(config), opts=pulumi.ResourceOptions(parent=self))
        self.passwords = made.values
        self.hashes = made.hashes
        self.kind = config.kind
        self.admins = list(config.admins)
        self.user_ids = {name: user_id(name) for name in account_names(config)}
        self.groups = {group: sorted(members) for group, members in config.groups.items()}
        self.register_outputs({"passwords": self.passwords})


def account_names(config: AuthConfig) -> list[str]:
    """All names that can sign in: people, admins, seats.

    >>> account_names(AuthConfig(accounts=["ada"], admins=[], seats=2))
    ['ada', 'seat-001', 'seat-002']
    """
    return [*config.accounts, *config.admins, *(f"seat-{number:03}" for number in range(1, config.seats + 1))]


def user_id(name: str) -> int:
    """The number that stands for a user on machines: of the name alone, so that it is the same on all of them.

    >>> user_id("ada")
    1039090445
    """
    return _FIRST_USER_ID + int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % _USER_IDS


def same_user_id(names: Iterable[str]) -> Sequence[str]:
    """Two of the names that have one number; nothing if there are no such two.

    >>> same_user_id(["ada", "bob"])
    ()
    """
    known: dict[int, str] = {}
    for name in names:
        if (other := known.setdefault(user_id(name), name)) != name:
            return other, name
    return ()

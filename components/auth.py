"""Who may sign in: named accounts, and generated seats for a course."""

from typing import Annotated, Literal

import pulumi
from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig
from components.secrets import Passwords

AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]


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

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AuthConfig":
        names = account_names(self)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}; keep each name in one place")
        if not names:
            raise ValueError("nobody could sign in; name someone in 'accounts' or 'admins', or set 'seats'")
        return self


class Auth(pulumi.ComponentResource):
    """Makes a password for every account, once.

    Gives `passwords` (by name, secret) and `hashes` (Argon2id, by name, secret), `kind`, and `admins`.
    """

    passwords: pulumi.Output[dict[str, str]]
    hashes: pulumi.Output[dict[str, str]]
    kind: str
    admins: list[str]

    def __init__(self, name: str, config: AuthConfig, *, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("cygnet:index:Auth", name, None, opts)
        made = Passwords(name, account_names(config), opts=pulumi.ResourceOptions(parent=self))
        self.passwords = made.values
        self.hashes = made.hashes
        self.kind = config.kind
        self.admins = list(config.admins)
        self.register_outputs({"passwords": self.passwords})


def account_names(config: AuthConfig) -> list[str]:
    """All names that can sign in: people, admins, seats.

    >>> account_names(AuthConfig(accounts=["ada"], admins=[], seats=2))
    ['ada', 'seat-001', 'seat-002']
    """
    return [*config.accounts, *config.admins, *(f"seat-{number:03}" for number in range(1, config.seats + 1))]

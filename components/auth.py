"""Who may sign in, and how: accounts of the stack, or an identity provider; their groups, rights and numbers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pulumi
from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig
from components.cluster import Cluster
from components.registry import Registry
from components.secrets import Passwords
from components.sign_in import accounts, kerberos, keycloak, oidc
from components.sign_in.kerberos import KerberosConfig
from components.sign_in.keycloak import KeycloakConfig
from components.sign_in.oidc import OidcConfig
from components.sign_in.provided import Provided
from components.sign_in.rights import RightsConfig
from components.sign_in.user_ids import same_user_id, user_id
from components.storage import Storage

AccountName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
GroupName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$")]

WITH_ACCOUNTS = ("accounts", "keycloak")
"""Kinds for which the stack makes accounts; of the others nobody is known before the first sign-in."""
WITH_NAMES = (*WITH_ACCOUNTS, "kerberos")
"""Kinds for which a stack file names people and groups; of kerberos, whose passwords are elsewhere."""
_SECTIONS = ("kerberos", "keycloak", "oidc")
"""Fields that are for the kind of their name."""


class AuthConfig(PartConfig):
    """What a stack says about sign-in, under `cygnet:auth`."""

    kind: Annotated[
        Literal["accounts", "kerberos", "keycloak", "oidc"],
        Field(
            description="How people sign in; accounts: names and passwords, which the hub checks; keycloak: the same, "
            "which a Keycloak of the stack checks; kerberos: the passwords of a Kerberos realm, whose tickets sessions "
            "have; oidc: an OpenID Connect provider that is there"
        ),
    ] = "accounts"
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
    rights: Annotated[RightsConfig, Field(description="What groups may do")] = Field(default_factory=RightsConfig)
    keycloak: Annotated[KeycloakConfig | None, Field(description="For kind keycloak: how it is set up")] = None
    kerberos: Annotated[KerberosConfig | None, Field(description="For kind kerberos: the realm")] = None
    oidc: Annotated[OidcConfig | None, Field(description="For kind oidc: the provider")] = None

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, given: Any) -> Any:
        """Nobody is known at a provider: its user who is called like the default administrator is none."""
        if isinstance(given, dict) and given.get("kind", "accounts") not in WITH_ACCOUNTS:
            return {"accounts": (), "admins": (), **given}
        if isinstance(given, dict) and given.get("kind") == "keycloak":
            return {"keycloak": {}, **given}
        return given

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "AuthConfig":
        for section in _SECTIONS:
            if (getattr(self, section) is not None) != (self.kind == section):
                raise ValueError(
                    f"{section} and kind {section} go together, and kind is {self.kind}; give both, or none of them"
                )
        if self.kind == "kerberos" and self.seats:
            raise ValueError(
                "seats have passwords of the stack's, and with kind kerberos the realm has them; remove seats"
            )
        if self.kind not in WITH_NAMES and (self.accounts or self.seats or self.groups):
            raise ValueError(
                f"accounts, seats and groups are the stack's own, and with kind {self.kind} the provider says who is "
                "who; remove them, and name the provider's groups in 'rights'"
            )
        return self

    @model_validator(mode="after")
    def _names_are_unique(self) -> "AuthConfig":
        names = known_names(self)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}; keep each name in one place")
        if not names and self.kind in WITH_ACCOUNTS:
            raise ValueError("nobody could sign in; name someone in 'accounts' or 'admins', or set 'seats'")
        return self

    @model_validator(mode="after")
    def _user_ids_are_unique(self) -> "AuthConfig":
        if pair := same_user_id(known_names(self)):
            raise ValueError(
                f"{pair[0]} and {pair[1]} would have the same user id on machines ({user_id(pair[0])}), and so each "
                "other's files; give one of them another name"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_of_accounts(self) -> "AuthConfig":
        if self.kind == "kerberos" and not self.accounts:
            return self  # everyone in the realm
        names = set(known_names(self))
        unknown = {group: missing for group, members in self.groups.items() if (missing := sorted({*members} - names))}
        if unknown:
            found = "; ".join(f"{group}: {', '.join(missing)}" for group, missing in unknown.items())
            raise ValueError(f"groups name people without an account ({found}); add them to 'accounts', or remove them")
        return self

    @model_validator(mode="after")
    def _second_factor_is_of_groups(self) -> "AuthConfig":
        if self.keycloak and (unknown := sorted({*self.keycloak.second_factor} - self.groups.keys())):
            raise ValueError(
                f"keycloak.second_factor names groups that 'groups' does not have: {', '.join(unknown)}; add them there"
            )
        return self

    @model_validator(mode="after")
    def _rights_are_of_groups(self) -> "AuthConfig":
        if self.kind in WITH_NAMES and (unknown := sorted(self.rights.groups - self.groups.keys())):
            raise ValueError(f"rights name groups that 'groups' does not have: {', '.join(unknown)}; add them there")
        return self


class Auth(pulumi.ComponentResource):
    """Lets people sign in. Stands on cluster, registry and storage.

    Gives, whatever the kind: `kind`, `admins`, `user_ids` (by name) and `groups` (the names in each), as far as they
    are known before anybody signs in; `has_guests`, whether others come, too; `passwords` and `hashes` (Argon2id) of
    the accounts that the stack makes, both by name and secret; `rights`; and `provided`, for hub and gateway.
    """

    passwords: pulumi.Output[dict[str, str]]
    hashes: pulumi.Output[dict[str, str]]
    kind: str
    admins: list[str]
    user_ids: dict[str, int]
    groups: dict[str, list[str]]
    has_guests: bool
    rights: RightsConfig
    provided: Provided

    def __init__(
        self,
        name: str,
        config: AuthConfig,
        *,
        cluster: Cluster,
        registry: Registry,
        storage: Storage,
        title: str,
        url: pulumi.Output[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Auth", name, None, opts)
        made = Passwords(name, account_names(config), rotates="accounts", opts=pulumi.ResourceOptions(parent=self))
        self.passwords = made.values
        self.hashes = made.hashes
        self.kind = config.kind
        self.admins = list(config.admins)
        self.user_ids = {name: user_id(name) for name in known_names(config)}
        self.groups = {group: sorted(members) for group, members in config.groups.items()}
        self.has_guests = has_guests(config)
        self.rights = config.rights
        if config.kerberos:
            self.provided = kerberos.provide(
                config.kerberos, names=config.accounts, groups=self.groups, inner_networks=cluster.inner_networks
            )
        elif config.oidc:
            self.provided = oidc.provide(config.oidc, cluster.inner_networks)
        elif config.keycloak:
            self.provided = keycloak.provide(
                config.keycloak,
                title=title,
                url=url,
                hashes=self.hashes,
                groups=self.groups,
                cluster=cluster,
                registry=registry,
                storage=storage,
                parent=self,
            )
        else:
            self.provided = accounts.provide(self.hashes, self.admins, self.groups)
        self.register_outputs({"passwords": self.passwords})


def account_names(config: AuthConfig) -> list[str]:
    """All names that can sign in with a password of the stack's: people, admins, seats.

    >>> account_names(AuthConfig(accounts=["ada"], admins=[], seats=2))
    ['ada', 'seat-001', 'seat-002']
    """
    if config.kind not in WITH_ACCOUNTS:
        return []
    return [*config.accounts, *config.admins, *(f"seat-{number:03}" for number in range(1, config.seats + 1))]


def known_names(config: AuthConfig) -> list[str]:
    """All names that the stack file has, whoever has their passwords: these have homes, and may be in groups.

    >>> known_names(AuthConfig(kind="kerberos", kerberos=KerberosConfig(realm="LAB"), accounts=["ada"]))
    ['ada']
    """
    return account_names(config) or ([*config.accounts, *config.admins] if config.kind in WITH_NAMES else [])


def has_guests(config: AuthConfig) -> bool:
    """Whether people come whom the stack file does not name.

    >>> has_guests(AuthConfig(kind="kerberos", kerberos=KerberosConfig(realm="LAB")))
    True
    """
    return config.kind not in WITH_ACCOUNTS and not config.accounts


def rights_settings(rights: RightsConfig, admins: list[str]) -> Mapping[str, Any]:
    """`auth.rights` of the hub's settings.

    >>> rights_settings(RightsConfig(admin=["staff"]), ["root"])
    {'sign_in': [], 'admin': ['staff'], 'admins': ['root'], 'max_age_hours': {}}
    """
    return {
        "sign_in": list(rights.sign_in),
        "admin": list(rights.admin),
        "admins": admins,
        "max_age_hours": dict(rights.max_age_hours),
    }

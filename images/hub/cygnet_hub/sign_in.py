"""How people sign in, as the hub is told: one model for each kind, and what all kinds have in common."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from cygnet_hub.model import Model
from cygnet_hub.rights import Rights


class _Kind(Model):
    """What all kinds have in common."""

    rights: Rights = Rights()
    """Who may sign in, and who is an operator."""


class AccountsSettings(_Kind):
    """Names and passwords of the stack, in accounts.json among the secrets."""

    kind: Literal["accounts"] = "accounts"


class OidcSettings(_Kind):
    """An OpenID Connect provider. Its secrets: `oidc-client-secret`, and `oidc-certificate-authority` where needed."""

    kind: Literal["oidc"] = "oidc"
    issuer: str = Field(pattern=r"^https?://")
    """The provider's name for itself; below it is /.well-known/openid-configuration."""
    internal_url: str | None = Field(None, pattern=r"^https?://[^/]+$")
    """Where in the cluster the hub asks a provider that stands behind the service's own gateway, "http://host:port"."""
    client_id: str
    """The hub's name there."""
    scopes: tuple[str, ...] = ("openid", "profile", "email")
    """What the hub asks to be told."""
    name_claim: str = "preferred_username"
    """Claim that is the user's name here; a name of another form than accounts have is refused."""
    groups_claim: str = "groups"
    """Claim that lists the user's groups."""
    uid_claim: str | None = None
    """Claim that is the user's number on machines; none: it is made of the name."""
    provider: str = "your institute"
    """What the button for signing in says."""


class KerberosSettings(_Kind):
    """A Kerberos realm. Among the secrets: `krb5.conf`, and `kerberos-keytab` (base64) where its word is checked."""

    kind: Literal["kerberos"] = "kerberos"
    realm: str
    names: tuple[str, ...] = ()
    """Who may sign in; none: everyone in the realm."""
    groups: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The names in each group."""


AuthSettings = Annotated[AccountsSettings | KerberosSettings | OidcSettings, Field(discriminator="kind")]

"""Sign-in at an OpenID Connect provider that is there: an institute's single sign-on."""

from collections.abc import Sequence
from typing import Annotated, Any

import pulumi
from pydantic import Field, SecretStr

from components.base import PartConfig
from components.policies import outside
from components.sign_in.provided import Provided

_CLAIM = r"^[\w.:/-]{1,64}$"


class OidcConfig(PartConfig):
    """The provider, and which of its claims are what."""

    issuer: Annotated[
        str,
        Field(
            pattern=r"^https://[^\s?#]+[^\s?#/]$",
            description="The provider's name for itself, e.g. https://login.example.org/realms/lab",
        ),
    ]
    client_id: Annotated[str, Field(min_length=1, max_length=200, description="The service's name at the provider")]
    client_secret: Annotated[SecretStr, Field(description="The service's password at the provider, a secret")]
    provider: Annotated[
        str, Field(min_length=1, max_length=60, description="What people call it; they sign in `with` it")
    ] = "your institute"
    scopes: Annotated[tuple[str, ...], Field(description="What the service asks to be told")] = (
        "openid",
        "profile",
        "email",
    )
    name_claim: Annotated[
        str, Field(pattern=_CLAIM, description="Claim that is a user's name here, and that of the home")
    ] = "preferred_username"
    groups_claim: Annotated[str, Field(pattern=_CLAIM, description="Claim that lists a user's groups")] = "groups"
    uid_claim: Annotated[
        str | None,
        Field(
            pattern=_CLAIM,
            description="Claim that is a user's number on machines; none: it follows from the name",
        ),
    ] = None
    certificate_authority: Annotated[
        str | None,
        Field(
            pattern=r"^-----BEGIN CERTIFICATE-----\s",
            description="Who certifies the provider, PEM; none: one of those that everybody trusts",
        ),
    ] = None


def provide(config: OidcConfig, inner_networks: pulumi.Output[Sequence[str]]) -> Provided:
    """The kind `oidc`.

    Args:
        config: What the stack says.
        inner_networks: Where no provider is: networks of pods, services and machines.
    """
    secrets: dict[str, pulumi.Input[str]] = {
        "oidc-client-secret": pulumi.Output.secret(config.client_secret.get_secret_value())
    }
    if config.certificate_authority:
        secrets["oidc-certificate-authority"] = config.certificate_authority
    return Provided(settings(config), secrets=secrets, egress=[inner_networks.apply(outside)])


def settings(config: OidcConfig) -> dict[str, Any]:
    """`auth` of the hub's settings."""
    told = config.model_dump(mode="json", exclude={"client_secret", "certificate_authority"}, exclude_none=True)
    return {"kind": "oidc", **told}

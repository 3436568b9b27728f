"""Sign-in with Kerberos passwords: the hub asks the realm, and hands its tickets to sessions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import pulumi
from pydantic import Field, SecretStr, StringConstraints

from components.base import PartConfig
from components.policies import outside
from components.sign_in.provided import Provided

Kdc = Annotated[str, StringConstraints(pattern=r"^[\w.-]+(:\d+)?$")]


class KerberosConfig(PartConfig):
    """The realm, and how it is reached."""

    realm: Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.-]*$", description="Its name, e.g. EXAMPLE.ORG")]
    kdcs: Annotated[
        tuple[Kdc, ...], Field(description="Its servers, HOST or HOST:PORT; empty: those that the realm's DNS names")
    ] = ()
    keytab: Annotated[
        SecretStr | None,
        Field(
            description="base64 of a keytab with one service of the realm, of this service's own; by it the hub knows "
            "that it is the realm that answers. A secret"
        ),
    ] = None
    ticket_hours: Annotated[float, Field(gt=0, le=168, description="Hours that a ticket lasts")] = 10
    renewable_days: Annotated[
        float, Field(gt=0, le=90, description="Days for which it is renewed, if the realm lets it; then one signs in")
    ] = 7


def provide(
    config: KerberosConfig,
    *,
    names: Sequence[str],
    groups: Mapping[str, Sequence[str]],
    inner_networks: pulumi.Output[Sequence[str]],
) -> Provided:
    """The kind `kerberos`.

    Args:
        config: What the stack says.
        names: Who may sign in; none: everyone in the realm.
        groups: The names in each.
        inner_networks: Where no realm is: networks of pods, services and machines.
    """
    secrets: dict[str, pulumi.Input[str]] = {"krb5.conf": krb5_conf(config)}
    if config.keytab:
        secrets["kerberos-keytab"] = pulumi.Output.secret(config.keytab.get_secret_value())
    told = {"realm": config.realm, "names": list(names), "groups": {key: list(given) for key, given in groups.items()}}
    return Provided({"kind": "kerberos", **told}, secrets=secrets, egress=[inner_networks.apply(outside)])


def krb5_conf(config: KerberosConfig) -> str:
    """The realm, as MIT's programs read it; the hub has it, and sessions get it with their tickets."""
    servers = "".join(f"    kdc = {kdc}\n" for kdc in config.kdcs)
    settings: dict[str, Any] = {
        "default_realm": config.realm,
        "dns_lookup_realm": "false",
        "dns_lookup_kdc": "false" if config.kdcs else "true",
        "rdns": "false",
        # Renewed in sessions' place, from whatever address.
        "noaddresses": "true",
        "ticket_lifetime": f"{round(config.ticket_hours * 3600)}s",
        "renew_lifetime": f"{round(config.renewable_days * 86400)}s",
        # What a hub gives up after is shorter than what a person does.
        "kdc_timeout": "3s",
        "max_retries": "1",
    }
    lines = "".join(f"  {key} = {value}\n" for key, value in settings.items())
    return f"[libdefaults]\n{lines}\n[realms]\n  {config.realm} = {{\n{servers}  }}\n"

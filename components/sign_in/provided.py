"""What every kind of sign-in gives, whoever knows the passwords."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi


@dataclass(frozen=True)
class Provided:
    """One kind of sign-in, as the hub and the gateway need it."""

    settings: Mapping[str, pulumi.Input[Any]]
    """`auth` of the hub's settings: the kind, and its fields (`images/hub/cygnet_hub/sign_in.py`)."""

    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Files in the hub's folder of secrets, by name, that it reads at its start only."""

    secrets_read_again: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Those that it looks at again by itself."""

    egress: Sequence[pulumi.Input[Mapping[str, Any]]] = ()
    """Rules of a network policy: where the hub has to reach."""

    routes: Sequence[Mapping[str, Any]] = ()
    """Of the gateway, at the service's own address, before all else goes to the hub."""

    administration: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """What operations need to look after it; secrets."""

    routes_egress: Sequence[Mapping[str, Any]] = ()
    """Rules of a network policy: where these lead."""

"""What a stack says about its gateway, and what of a part has a site there."""

import dataclasses
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Annotated, Any

import pulumi
from pydantic import Field, model_validator

from components.base import PartConfig
from components.gateway_certificate import CertificateConfig, fault

PORTS_OF_THE_MACHINE = {
    22: "SSH", 1094: "homes and data", 2379: "etcd", 2380: "etcd", 3128: "the proxy of software repositories",
    5000: "the registry", 6443: "Kubernetes' API", 8000: "the software repository", 10250: "the kubelet",
}  # fmt: skip
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"  # of a host name


class GatewayConfig(PartConfig):
    """What a stack says about its gateway, under `cygnet:gateway`."""

    hostname: Annotated[
        str | None,
        Field(
            pattern=rf"^{_LABEL}(\.{_LABEL})*$",
            description="Name in the user's address bar, e.g. swan.example.org; none: the machine's address",
        ),
    ] = None
    https_port: Annotated[int, Field(ge=1, le=65535, description="TCP port of the service")] = 443
    http_port: Annotated[int, Field(ge=1, le=65535, description="TCP port that only redirects to HTTPS")] = 80
    allowed_networks: Annotated[
        tuple[IPv4Network, ...], Field(description="Who may connect, e.g. [192.0.2.0/24]; empty: all")
    ] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network, ...],
        Field(description="Proxies of the site in front of it, whose word on a client's address is taken"),
    ] = ()
    certificate: Annotated[CertificateConfig, Field(description="The certificate under which it answers")] = Field(
        default_factory=CertificateConfig
    )

    @model_validator(mode="after")
    def _certificate_is_for_its_name(self) -> "GatewayConfig":
        if found := fault(self.certificate, self.hostname):
            raise ValueError(found)
        return self

    @model_validator(mode="after")
    def _ports_are_free(self) -> "GatewayConfig":
        if self.https_port == self.http_port:
            raise ValueError(f"https_port and http_port are both {self.https_port}; give one of them another number")
        for field in ("https_port", "http_port"):
            if owner := PORTS_OF_THE_MACHINE.get(getattr(self, field)):
                raise ValueError(f"{field} {getattr(self, field)} is the port of {owner} on that machine; take another")
        return self


@dataclasses.dataclass(frozen=True)
class Site:
    """A part's own origin at the gateway: the service's host at another port, with Caddy's routes."""

    name: str
    https_port: int
    """On the machine."""
    routes: Sequence[Mapping[str, Any]]
    """At that port."""
    service_routes: Sequence[Mapping[str, Any]] = ()
    """At the service's own port, before all goes to the hub."""
    variables: Mapping[str, pulumi.Input[str]] = dataclasses.field(default_factory=dict)
    """Secrets that the routes name as {env.NAME}."""
    egress: Sequence[Mapping[str, Any]] = ()
    """Rules of a network policy: where the routes lead."""


def public_url(host: str, https_port: int) -> str:
    """The address users type, without the port where it is HTTPS's own.

    >>> public_url("swan.example", 8443)
    'https://swan.example:8443'
    """
    return f"https://{host}" + ("" if https_port == 443 else f":{https_port}")

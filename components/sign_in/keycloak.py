"""Sign-in at a Keycloak of the stack's own, behind the service's gateway: the realm is what the stack file says.

Outside, it is at the service's own address, and there only where people sign in; whoever administers it comes through
Kubernetes.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import pulumi
import pulumi_kubernetes as k8s
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult
from pydantic import Field

from components import postgresql
from components.base import PartConfig
from components.cluster import Cluster
from components.kubernetes import NO_OTHER, SCRATCH, container, pod_template
from components.policies import in_hub, in_namespace, tcp
from components.registry import Registry
from components.secrets import Token
from components.sign_in import keycloak_admin, keycloak_realm
from components.sign_in.keycloak_admin import ADMINISTRATOR, NAMESPACE
from components.sign_in.keycloak_realm import CLIENT, REALM
from components.sign_in.provided import Provided
from components.storage import Storage

PORT = 8080
_HEALTH_PORT = 9000
_LABELS = {"app.kubernetes.io/name": "keycloak"}
_KINDS = {"h2": "dev-file", "postgresql": "postgres"}
"""Databases, as Keycloak calls them."""

PUBLIC_PATHS = (
    f"/realms/{REALM}/.well-known/openid-configuration",
    f"/realms/{REALM}/protocol/openid-connect/*",
    f"/realms/{REALM}/login-actions/*",
    "/resources/*",
)
"""What the gateway lets through: signing in and out, tokens, and what pages look like. Not: administration, consoles,
other realms, metrics."""


class KeycloakConfig(PartConfig):
    """What a stack says about its own Keycloak."""

    database: Annotated[
        Literal["h2", "postgresql"],
        Field(description="Where it keeps users and sessions; h2: a file, for trying out; postgresql: for production"),
    ] = "h2"
    second_factor: Annotated[
        tuple[str, ...],
        Field(description="Groups whose members need a second factor (TOTP), which they set up at the first sign-in"),
    ] = ()
    session_hours: Annotated[
        float, Field(ge=0.25, le=720, description="Hours after which everybody signs in again")
    ] = 12
    password_length: Annotated[
        int, Field(ge=8, le=64, description="Characters at least, of passwords that users choose")
    ] = 12
    memory_gib: Annotated[float, Field(ge=0.75, le=64, description="GiB of memory that it may use")] = 1


class _RealmProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        # What somebody made there by hand in a Keycloak whose state was lost is shown by the command, not here.
        with keycloak_admin.administration(props["kubeconfig"], props["secret"]) as admin:
            keycloak_admin.bring_about(admin, keycloak_admin.read(props["declared"]), None)
        return CreateResult(id_=REALM, outs=props)

    def update(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        before = keycloak_admin.read(olds["declared"])
        with keycloak_admin.administration(news["kubeconfig"], news["secret"], former=olds["secret"]) as admin:
            keycloak_admin.bring_about(admin, keycloak_admin.read(news["declared"]), before)
        return UpdateResult(outs=news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=any(olds[key] != news[key] for key in ("declared", "secret")))


class Realm(Resource, module="cygnet", name="Realm"):
    """The realm of a Keycloak in a cluster, as `declared` (JSON, secret) says; `secret` is its administrator's."""

    def __init__(
        self,
        name: str,
        declared: pulumi.Input[str],
        *,
        secret: pulumi.Input[str],
        kubeconfig: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {"declared": declared, "secret": secret, "kubeconfig": kubeconfig}
        kept = pulumi.ResourceOptions(additional_secret_outputs=list(props))
        super().__init__(_RealmProvider(), name, props, pulumi.ResourceOptions.merge(opts, kept))


def provide(
    config: KeycloakConfig,
    *,
    title: str,
    url: pulumi.Output[str],
    hashes: pulumi.Output[dict[str, str]],
    groups: Mapping[str, Sequence[str]],
    cluster: Cluster,
    registry: Registry,
    storage: Storage,
    parent: pulumi.Resource,
) -> Provided:
    """The kind `keycloak`.

    Args:
        config: What the stack says.
        title: What the sign-in page says on top.
        url: Of the service.
        hashes: Argon2id, by name; secret.
        groups: The names in each.
        cluster: Where it runs.
        registry: Whose images.
        storage: Where its database lies.
        parent: Of all that is made.
    """
    inside, ours = cluster.inside(parent), pulumi.ResourceOptions(parent=parent)
    namespace = cluster.namespace(NAMESPACE, parent=parent)
    metadata = {"name": "keycloak", "namespace": namespace}
    secret = Token("keycloak-administrator", rotates="keycloak", opts=ours).value
    client_secret = Token("keycloak-client", rotates="keycloak", opts=ours).value
    k8s.networking.v1.NetworkPolicy("keycloak", metadata=metadata, spec=NETWORK_POLICY, opts=inside)
    k8s.core.v1.Secret("keycloak", metadata=metadata, string_data={"administrator": secret}, opts=inside)
    storage.claim("keycloak", metadata=metadata, opts=inside)
    images = {"keycloak": registry.image("keycloak")}
    if config.database == "postgresql":
        images["postgresql"] = registry.image("postgresql")
    deployment = k8s.apps.v1.Deployment(
        "keycloak",
        metadata=metadata,
        spec=pulumi.Output.all(**images).apply(
            lambda given: deployment_spec(config, on_control_plane=cluster.has_control_plane, images=given)
        ),
        opts=inside,
    )
    k8s.core.v1.Service(
        "keycloak", metadata=metadata, spec={"selector": _LABELS, "ports": [{"port": PORT}]}, opts=inside
    )
    declared = pulumi.Output.all(hashes, client_secret).apply(
        lambda known: json.dumps(declaration(config, title, known[0], groups, client_secret=known[1]), sort_keys=True)
    )
    realm = Realm(
        "keycloak",
        pulumi.Output.secret(declared),
        secret=secret,
        kubeconfig=cluster.kubeconfig,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[deployment], deleted_with=cluster.anchor),
    )
    return Provided(
        {
            "kind": "oidc",
            "issuer": url.apply(lambda known: f"{known}/realms/{REALM}"),
            "internal_url": realm.id.apply(lambda _: f"http://keycloak.{NAMESPACE}.svc:{PORT}"),
            "client_id": CLIENT,
            "provider": title,
        },
        secrets={"oidc-client-secret": client_secret},
        egress=[_TO_KEYCLOAK],
        routes=routes(f"keycloak.{NAMESPACE}.svc:{PORT}"),
        routes_egress=[_TO_KEYCLOAK],
        administration={"declared": pulumi.Output.secret(declared), "secret": secret},
    )


def declaration(
    config: KeycloakConfig,
    title: str,
    hashes: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
    *,
    client_secret: str,
) -> dict[str, Any]:
    """The realm, as the stack file says it."""
    factor = {name for group in config.second_factor for name in groups[group]}
    users = {
        name: keycloak_realm.user(
            name,
            hashed,
            groups=[group for group, members in groups.items() if name in members],
            second_factor=name in factor,
        )
        for name, hashed in hashes.items()
    }
    settings = keycloak_realm.realm(title, session_hours=config.session_hours, password_length=config.password_length)
    return keycloak_realm.declared(settings, keycloak_realm.client(client_secret), users, list(groups))


def routes(address: str) -> list[dict[str, Any]]:
    """What of Keycloak is to be reached at the service's own address.

    Args:
        address: Where it answers, "name:port".
    """
    # It would believe whoever says where he comes from; the gateway writes the rest of these headers itself.
    strip = {"handler": "headers", "request": {"delete": ["Forwarded", "X-Forwarded-Port", "X-Forwarded-Prefix"]}}
    proxy = {"handler": "reverse_proxy", "upstreams": [{"dial": address}]}
    return [{"match": [{"path": list(PUBLIC_PATHS)}], "handle": [strip, proxy], "terminal": True}]


_TO_KEYCLOAK: dict[str, Any] = {"to": [in_namespace(NAMESPACE)], "ports": [tcp(PORT)]}

NETWORK_POLICY: dict[str, Any] = {
    "podSelector": {},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [{"from": [in_namespace("gateway"), in_hub("hub")], "ports": [tcp(PORT)]}],
    "egress": [],
}
"""It answers the gateway and the hub, and asks nobody."""


def deployment_spec(
    config: KeycloakConfig, *, images: Mapping[str, str], on_control_plane: bool = True
) -> dict[str, Any]:
    """One Keycloak, with its database beside it where that is a server.

    Args:
        config: What the stack says.
        images: Of keycloak, and of postgresql where that is wanted.
        on_control_plane: Whether it runs there; else anywhere.
    """
    kind = _KINDS[config.database]
    kept = "data" if config.database == "h2" else "work"
    heap = round(config.memory_gib * 1024 * 0.5)
    keycloak = container(
        "keycloak",
        images["keycloak"],
        args=[kind, f"--http-port={PORT}", f"--http-management-port={_HEALTH_PORT}"],
        ports={"http": PORT, "health": _HEALTH_PORT},
        mounts={"scratch": SCRATCH, kept: f"/opt/keycloak/{kind}/data"},
        env={
            # At its first start; later the secret is changed by the administration.
            "KC_BOOTSTRAP_ADMIN_CLIENT_ID": ADMINISTRATOR,
            "KC_BOOTSTRAP_ADMIN_CLIENT_SECRET": {"secretKeyRef": {"name": "keycloak", "key": "administrator"}},
            "JAVA_OPTS_KC_HEAP": f"-Xms64m -Xmx{heap}m",
            "KC_CACHE": "local",  # there is one of it
            **(POSTGRESQL if config.database == "postgresql" else {}),
        },
        requests={"cpu": "50m", "memory": "500Mi"},
        limits={"memory": f"{config.memory_gib:g}Gi"},
        ready={"httpGet": {"path": "/health/ready", "port": "health"}, "periodSeconds": 2, **NO_OTHER},
    )
    before = []
    if config.database == "postgresql":
        before = [postgresql.container_of(images["postgresql"], _DATABASE, data="data")]
    template = pod_template(
        _LABELS,
        keycloak,
        before=before,
        volumes={
            "scratch": {"emptyDir": {}},
            "work": {"emptyDir": {}},
            "data": {"persistentVolumeClaim": {"claimName": "keycloak"}},
        },
        on_control_plane=on_control_plane,
    )
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # its database is one process's own
        "progressDeadlineSeconds": 900,  # it starts in twenty seconds, and in minutes where all of a stack starts
        "selector": {"matchLabels": _LABELS},
        "template": template,
    }


_DATABASE = "keycloak"
POSTGRESQL = {"KC_DB_URL": f"jdbc:postgresql://127.0.0.1/{_DATABASE}", "KC_DB_USERNAME": _DATABASE}
"""How it comes to the one beside it."""

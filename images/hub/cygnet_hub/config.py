"""From settings to the configuration of JupyterHub, its spawner and its proxy: functions of plain data.

`configuration` is all of it; jupyterhub_config.py hands it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from traitlets.config import Config

from cygnet_hub import files, gpus, monitor, spark, swan
from cygnet_hub.accounts import AccountsAuthenticator
from cygnet_hub.audit import Audit
from cygnet_hub.choices import choices, last_choice, literal, open_to, resources, template_paths, titles
from cygnet_hub.ending import SessionsProxy
from cygnet_hub.gpus import Pool
from cygnet_hub.guests import Guests, admitting
from cygnet_hub.kept import database_url
from cygnet_hub.kerberos import KerberosAuthenticator
from cygnet_hub.links import to_session
from cygnet_hub.oidc import CHANGE, OidcAuthenticator
from cygnet_hub.rights import OPERATORS, Rights, max_age_hours
from cygnet_hub.services import services
from cygnet_hub.settings import FOLDER, Home, Secrets, Sessions, Settings
from cygnet_hub.sign_in import OidcSettings
from cygnet_hub.spawner import SessionSpawner
from cygnet_hub.start import wait_for_server

USER_ID, GROUP_ID = 1000, 100
VOLUME_HOME = "/home/{username}"
# A home has the user's own name there: other machines know it by that, too.
EOS_HOME = "/eos/user/{unescaped_username[0]}/{unescaped_username}"
STATE = Path("/srv/jupyterhub")
PORT = 8888
START_SECONDS = 300
"""How long a start may take; a first pull of the image counts."""
PASSWORD_URL = f"/hub/oauth_login?{CHANGE}=password&next=%2Fhub%2Fhome"
_OWN = "/tmp"  # noqa: S108 - a session has one of its own
CREDENTIALS = {
    "kerberos": {"KRB5CCNAME": f"FILE:{_OWN}/kerberos-ticket", "KRB5_CONFIG": f"{_OWN}/krb5.conf"},
    "oidc": {"BEARER_TOKEN_FILE": f"{_OWN}/access-token"},
}
"""Where a session has what its user was given at sign-in, by the kind of that: variables with paths of its own."""
CVMFS = "/cvmfs"
EOS = "/eos"
AUTHENTICATORS = {"accounts": AccountsAuthenticator, "kerberos": KerberosAuthenticator, "oidc": OidcAuthenticator}
"""Which one signs people in, by the kind that the settings say."""

COMPONENT = "session"
BESIDE_OTHERS: dict[str, Any] = {
    "weight": 100,
    "podAffinityTerm": {
        "labelSelector": {"matchLabels": {"component": COMPONENT}},
        "topologyKey": "kubernetes.io/hostname",
    },
}
"""What Kubernetes' scheduler is told of a session that goes where most sessions are."""

# Without access:servers: what is in a session is its user's alone.
OPERATOR_SCOPES = ["admin-ui", "list:users", "read:users:activity", "servers", "list:services"]


def configuration(settings: Settings, secrets: Secrets, state: Path = STATE) -> Config:
    """What jupyterhub_config.py says; `state` is the hub's own folder."""
    sign_in = AUTHENTICATORS[settings.auth.kind]
    guests = Guests(settings.guests) if settings.guests else None
    pool = gpu_pool(settings.sessions, state)
    return Config(
        JupyterHub=hub(settings, secrets, state, pool),
        ConfigurableHTTPProxy=proxy(settings, secrets),
        CryptKeeper={"keys": secrets.crypt_keys},
        **{sign_in.__name__: {**authenticator(settings), **({"guests": guests} if guests else {})}},
        KubeSpawner={
            **spawner(settings.sessions, CREDENTIALS.get(settings.auth.kind, {}), pool),
            **ending(settings.sessions, settings.auth.rights),
            **({"pre_spawn_hook": admitting(guests)} if guests else {}),
            **spark.hooks(settings.sessions.spark, settings.sessions.clusters),
        },
        # All pods are listed anew each minute, in case that a change was not told; KubeSpawner's own choice is each ten
        # seconds, which is a third of a core for 3,000 sessions. Whoever says nothing for longer is asked again.
        ResourceReflector={"timeout_seconds": 60, "restart_seconds": 60, "request_timeout": 90},
    )


def gpu_pool(sessions: Sessions, state: Path) -> Pool | None:
    """All GPUs, where a size of sessions has some."""
    wanted = [one.gpu for one in sessions.profiles if one.gpu]
    if not wanted:
        return None
    return Pool(sessions.profiles, state / gpus.FILE, sessions.gpu_claim_minutes * 60, lambda: gpus.counted(wanted))


def hub(settings: Settings, secrets: Secrets, state: Path, pool: Pool | None = None) -> dict[str, Any]:
    """The hub itself: a restart of it ends no session and signs nobody out. What it keeps is in the folder `state`."""
    audit = Audit(state / "audit", settings.proxies())
    return {
        "authenticator_class": AUTHENTICATORS[settings.auth.kind],
        "spawner_class": SessionSpawner,
        "proxy_class": SessionsProxy,
        "db_url": database_url(settings.database, state),
        "cookie_secret": bytes.fromhex(secrets.cookie_secret.get_secret_value()),
        "hub_bind_url": "http://0.0.0.0:8081",
        "hub_connect_url": settings.hub_url,
        "cleanup_servers": False,
        "cleanup_proxy": False,
        # Thousands of sessions are looked at for half a minute after a restart. Nobody has to wait for that: the proxy
        # knows them, and who asks for the one of theirs is told to wait.
        "init_spawners_timeout": 1,
        # A proxy that was started anew knows no session: so often the hub compares, and tells it (seconds).
        "last_activity_interval": 30,
        "active_server_limit": settings.active_session_limit,
        # Users come through HTTPS only, under whatever name: their own, or 127.0.0.1 through a tunnel.
        "tornado_settings": {
            "cookie_options": {"secure": True, "samesite": "Lax"},
            "log_function": audit.request,
            "audit": audit,
            "gpus": pool,
        },
        "user_redirect_hook": to_session(lambda user: titles(open_to(user, settings.sessions))),
        "template_paths": template_paths(settings.sessions),
        **({"logo_file": f"{swan.FOLDER}/{swan.LOGO}"} if settings.sessions.page == "swan" else {}),
        "template_vars": {
            "title": settings.title,
            "announcement": settings.announcement,
            "files_url": files.PREFIX if settings.files_port else None,
            "monitor_url": monitor.PREFIX if settings.monitor_port else None,
            "password_url": PASSWORD_URL if has_own_provider(settings) else None,
            # Functions, for the start page alone: JupyterHub calls what it finds here for each page.
            "last_choice": lambda _: partial(last_choice, sessions=settings.sessions),
            "waiting_place": (lambda _: pool.place) if pool else None,
        },
        "services": services(settings, secrets),
        "load_roles": roles(with_files=bool(settings.files_port), with_monitor=bool(settings.monitor_port)),
    }


def has_own_provider(settings: Settings) -> bool:
    """Whether people sign in at a Keycloak of the stack: there they change their passwords."""
    return isinstance(settings.auth, OidcSettings) and settings.auth.internal_url is not None


def roles(*, with_files: bool, with_monitor: bool = False) -> list[dict[str, Any]]:
    """What operators and users may do: that and no more."""
    watches = [f"access:services!service={monitor.NAME}"] if with_monitor else []
    made: list[dict[str, Any]] = [{"name": "operator", "scopes": [*OPERATOR_SCOPES, *watches], "groups": [OPERATORS]}]
    if with_files:
        made.append({"name": "user", "scopes": ["self", f"access:services!service={files.NAME}"]})
    if with_monitor:
        made.append({"name": monitor.READER, "scopes": ["read:metrics"], "services": [monitor.READER]})
    return made


def proxy(settings: Settings, secrets: Secrets) -> dict[str, Any]:
    """The proxy is a pod of its own, so that open connections outlive the hub."""
    return {
        "should_start": False,
        "api_url": settings.proxy_api_url,
        "auth_token": secrets.proxy_token.get_secret_value(),
    }


def authenticator(settings: Settings) -> dict[str, Any]:
    """Whoever is known may come in, unless `rights` say otherwise; all else is the kind's own."""
    folder = FOLDER / "secrets"
    return {
        "allow_all": True,
        "manage_groups": True,
        "rights": settings.auth.rights,
        # Who lost a right has no session started by it.
        "refresh_pre_spawn": True,
        **AUTHENTICATORS[settings.auth.kind].told(settings, folder),
    }


def spawner(
    sessions: Sessions, credentials: Mapping[str, str] | None = None, pool: Pool | None = None
) -> dict[str, Any]:
    """Sessions as pods that Kubernetes' `restricted` standard admits.

    Args:
        sessions: What the settings say of them.
        credentials: Variables that say where what was given at sign-in is.
        pool: Of GPUs, where a size has some.
    """
    scratch = {"tmp": "/tmp", "passwd": "/var/lib/extrausers", "shm": "/dev/shm"}  # noqa: S108 - the pod's own
    shared_memory = {"name": "shm", "emptyDir": {"medium": "Memory"}}
    folders = [
        *machines_folder("cvmfs", CVMFS, sessions.cvmfs_claim, read_only=True),
        *machines_folder("eos", EOS, sessions.eos_claim, read_only=False),
    ]
    homes = eos_homes() if sessions.home is None else volume_homes(sessions.home)
    size = resources(sessions.size, own_numbers=sessions.home is None)
    return {
        **size,
        "namespace": sessions.namespace,
        "enable_user_namespaces": False,
        "image": sessions.image,
        "image_pull_policy": "IfNotPresent",
        # By its path: what a user installs comes first on PATH.
        "cmd": ["/usr/local/bin/jupyterhub-singleuser"],
        "default_url": "/lab",
        "start_timeout": START_SECONDS,
        # The same again for the server in it: a whole class that starts at once shares a few cores.
        "http_timeout": START_SECONDS,
        "events_enabled": True,
        # Looks at what the hub knows already. A dead machine shows after 20 s, and its users should not wait for more.
        "poll_interval": 10,
        # A session on a machine that died is forgotten at once; with a grace period it would have to be waited for
        # until the machine is back, and its user could not start anew.
        "delete_grace_period": 0,
        "component_label": COMPONENT,
        # Names that are valid, readable where they can be, and never the same for two users.
        "slug_scheme": "safe",
        "pod_name_template": "session-{user_server}",
        "gid": GROUP_ID,
        "fs_gid": GROUP_ID,
        "allow_privilege_escalation": False,
        "automount_service_account_token": False,
        "pod_security_context": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
            # A home of a million files must not be walked through at each start.
            "fsGroupChangePolicy": "OnRootMismatch",
        },
        "container_security_context": {"capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True},
        # Otherwise every Service of the namespace becomes a handful of variables.
        "extra_pod_config": {"enableServiceLinks": False},
        **homes.settings,
        "environment": {
            **size["environment"],
            "HOME": homes.path,
            "USER": homes.user,
            "CYGNET_LINK_HOSTS": " ".join(sessions.link_hosts),
            **(credentials or {}),
            **literal(sessions.environment),
        },
        "volumes": [
            *(volume for volume, _ in homes.volumes),
            {"name": "tmp", "emptyDir": {}},
            {"name": "passwd", "emptyDir": {"sizeLimit": "1Mi"}},
            # Kubernetes gives 64 MiB, which process pools exceed; what is used counts as the session's memory.
            shared_memory,
            *(volume for volume, _ in folders),
        ],
        "volume_mounts": [
            *(mount for _, mount in homes.volumes),
            *({"name": name, "mountPath": path} for name, path in scratch.items()),
            *(mount for _, mount in folders),
        ],
        "node_selector": sessions.node_selector,
        **({"pod_affinity_preferred": [BESIDE_OTHERS]} if sessions.packed else {}),
        **choices(sessions, pool),
        "extra_container_config": {
            # A session is there when it can be reached. One that ended instead has said why: its user reads that.
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            # A file on the machine's disk for which there is no limit: where only root could write to it.
            "terminationMessagePath": "/root/termination-log",
        },
        "after_pod_created_hook": wait_for_server,
    }


Volume = tuple[dict[str, Any], dict[str, Any]]
"""A pod's volume, and how its container mounts that."""


@dataclass(frozen=True)
class Homes:
    """Where homes are: what a session has for it, with KubeSpawner's fields in braces."""

    path: str
    user: str
    settings: dict[str, Any]
    volumes: tuple[Volume, ...] = ()


def volume_homes(home: Home) -> Homes:
    """Homes that are volumes, one for each user, all of one number."""
    return Homes(
        path=VOLUME_HOME,
        user="{username}",
        settings={
            "uid": USER_ID,
            "storage_pvc_ensure": True,
            "delete_pvc": False,
            "pvc_name_template": "home-{username}",
            "storage_class": home.storage_class,
            "storage_capacity": f"{home.size_gib}Gi",
            # The web page of a user's files and a second session read the home from other nodes.
            "storage_access_modes": ["ReadWriteMany"],
        },
        volumes=(
            (
                {"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}},
                {"name": "home", "mountPath": VOLUME_HOME},
            ),
        ),
    )


def eos_homes() -> Homes:
    """Homes on /eos, which knows users by their numbers."""
    return Homes(
        path=EOS_HOME,
        user="{unescaped_username}",
        settings={"uid": lambda spawner: spawner.authenticator.user_id(spawner.user)},
    )


def machines_folder(name: str, path: str, claim: str | None, *, read_only: bool) -> list[Volume]:
    """A folder of the session's machine, by the claim of it; nothing without a claim."""
    if claim is None:
        return []
    volume = {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": read_only}}
    # What the machine mounts there later is seen, such as a repository whose client was started anew.
    mount = {"name": name, "mountPath": path, "readOnly": read_only, "mountPropagation": "HostToContainer"}
    return [(volume, mount)]


def ending(sessions: Sessions, rights: Rights) -> dict[str, Any]:
    """When sessions end; how long one may be idle belongs to its size."""
    return {
        "idle_warning_minutes": sessions.idle_warning_minutes,
        "max_age_hours": lambda user: max_age_hours(
            [group.name for group in user.groups], rights, sessions.max_age_hours
        ),
    }

"""From settings to the configuration of JupyterHub, its spawner and its proxy: functions of plain data.

`configuration` is all of it; jupyterhub_config.py hands it over.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from traitlets.config import Config

from cygnet_hub import files
from cygnet_hub.accounts import AccountsAuthenticator
from cygnet_hub.audit import Audit
from cygnet_hub.ending import SessionsProxy
from cygnet_hub.guests import Guests, admitting
from cygnet_hub.kept import DATABASE
from cygnet_hub.kerberos import KerberosAuthenticator
from cygnet_hub.links import to_session
from cygnet_hub.oidc import CHANGE, OidcAuthenticator
from cygnet_hub.rights import OPERATORS, Rights, max_age_hours, may_choose
from cygnet_hub.settings import FOLDER, Home, Profile, Release, Secrets, Sessions, Settings, Size
from cygnet_hub.sign_in import OidcSettings
from cygnet_hub.spawner import SessionSpawner
from cygnet_hub.start import only_known, wait_for_server

GIB = 2**30
USER_ID, GROUP_ID = 1000, 100
VOLUME_HOME = "/home/{username}"
# A home has the user's own name there: other machines know it by that, too.
EOS_HOME = "/eos/user/{unescaped_username[0]}/{unescaped_username}"
STATE = Path("/srv/jupyterhub")
TEMPLATES = "/usr/local/share/cygnet/templates"
PORT = 8888
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

# Without access:servers: what is in a session is its user's alone.
OPERATOR_SCOPES = ["admin-ui", "list:users", "read:users:activity", "servers", "list:services"]


def configuration(settings: Settings, secrets: Secrets, state: Path = STATE) -> Config:
    """What jupyterhub_config.py says; `state` is the hub's own folder."""
    sign_in = AUTHENTICATORS[settings.auth.kind]
    guests = Guests(settings.guests) if settings.guests else None
    return Config(
        JupyterHub=hub(settings, secrets, state),
        ConfigurableHTTPProxy=proxy(settings, secrets),
        CryptKeeper={"keys": secrets.crypt_keys},
        **{sign_in.__name__: {**authenticator(settings), **({"guests": guests} if guests else {})}},
        KubeSpawner={
            **spawner(settings.sessions, CREDENTIALS.get(settings.auth.kind, {})),
            **ending(settings.sessions, settings.auth.rights),
            **({"pre_spawn_hook": admitting(guests)} if guests else {}),
        },
    )


def hub(settings: Settings, secrets: Secrets, state: Path) -> dict[str, Any]:
    """The hub itself: a restart of it ends no session and signs nobody out. What it keeps is in the folder `state`."""
    audit = Audit(state / "audit", settings.trusted_networks)
    return {
        "authenticator_class": AUTHENTICATORS[settings.auth.kind],
        "spawner_class": SessionSpawner,
        "proxy_class": SessionsProxy,
        "db_url": f"sqlite:///{state / DATABASE}",
        "cookie_secret": bytes.fromhex(secrets.cookie_secret.get_secret_value()),
        "hub_bind_url": "http://0.0.0.0:8081",
        "hub_connect_url": settings.hub_url,
        "cleanup_servers": False,
        "cleanup_proxy": False,
        # A proxy that was started anew knows no session: so often the hub compares, and tells it (seconds).
        "last_activity_interval": 30,
        "active_server_limit": settings.active_session_limit,
        # Users come through HTTPS only, under whatever name: their own, or 127.0.0.1 through a tunnel.
        "tornado_settings": {
            "cookie_options": {"secure": True, "samesite": "Lax"},
            "log_function": audit.request,
            "audit": audit,
        },
        "user_redirect_hook": to_session(lambda user: titles(open_to(user, settings.sessions))),
        "template_paths": [TEMPLATES],
        "template_vars": {
            "title": settings.title,
            "announcement": settings.announcement,
            "files_url": files.PREFIX if settings.files_port else None,
            "password_url": PASSWORD_URL if has_own_provider(settings) else None,
        },
        "services": [files_service(settings.files_port)] if settings.files_port else [],
        "load_roles": roles(with_files=bool(settings.files_port)),
    }


def has_own_provider(settings: Settings) -> bool:
    """Whether people sign in at a Keycloak of the stack: there they change their passwords."""
    return isinstance(settings.auth, OidcSettings) and settings.auth.internal_url is not None


def roles(*, with_files: bool) -> list[dict[str, Any]]:
    """What operators and users may do: that and no more."""
    made = [{"name": "operator", "scopes": OPERATOR_SCOPES, "groups": [OPERATORS]}]
    if with_files:
        made.append({"name": "user", "scopes": ["self", f"access:services!service={files.NAME}"]})
    return made


def files_service(port: int) -> dict[str, Any]:
    """The service that knows who wants to see files; users do not get to see that they consent to it."""
    return {
        "name": files.NAME,
        "command": [sys.executable, "-m", "cygnet_hub.files", str(port)],
        "oauth_redirect_uri": files.CALLBACK,
        "oauth_no_confirm": True,
        "display": False,
    }


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


def spawner(sessions: Sessions, credentials: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Sessions as pods that Kubernetes' `restricted` standard admits.

    Args:
        sessions: What the settings say of them.
        credentials: Variables that say where what was given at sign-in is.
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
        "start_timeout": sessions.start_timeout_seconds,
        # The same again for the server in it: a whole class that starts at once shares a few cores.
        "http_timeout": sessions.start_timeout_seconds,
        "events_enabled": True,
        # Looks at what the hub knows already. A dead machine shows after 20 s, and its users should not wait for more.
        "poll_interval": 10,
        # A session on a machine that died is forgotten at once; with a grace period it would have to be waited for
        # until the machine is back, and its user could not start anew.
        "delete_grace_period": 0,
        "component_label": "session",
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
            **_literal(sessions.environment),
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
        "tolerations": [toleration.model_dump() for toleration in sessions.tolerations],
        **choices(sessions),
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


def choices(sessions: Sessions) -> dict[str, Any]:
    """The start page, and what keeps to it whatever is sent."""
    for_groups = any(one.groups for one in (*sessions.profiles, *sessions.releases))
    return {
        "profile_list": (lambda spawner: start_page(open_to(spawner.user, sessions)))
        if for_groups
        else start_page(sessions),
        "additional_profile_form_template_paths": [TEMPLATES],
        "options_from_form": "simple",
        "apply_user_options": only_known(lambda user: titles(open_to(user, sessions))),
    }


def open_to(user: Any, sessions: Sessions) -> Sessions:
    """The sessions that a user may have: what is for groups is there for their members only."""
    groups = [group.name for group in user.groups]
    mine = {name: tuple(may_choose(getattr(sessions, name), groups)) for name in ("profiles", "releases")}
    return sessions.model_copy(update=mine)


def start_page(sessions: Sessions) -> list[dict[str, Any]]:
    """A size and a software release, each where there is something to choose; else there is no page."""
    sizes = [profile(one, sessions, default=one is sessions.profiles[0]) for one in sessions.profiles]
    if sessions.releases:
        # Releases are options of a profile, so there has to be one.
        sizes = sizes or [{"slug": "session", "display_name": "Session", "default": True}]
        option = {"release": {"display_name": "Software", "choices": dict(map(release, sessions.releases))}}
        sizes = [{**size, "profile_options": option} for size in sizes]
    return sizes


def titles(sessions: Sessions) -> dict[str, dict[str, str]]:
    """What there is to choose: for each name its values, and how users read them."""
    offered = {"profile": sessions.profiles, "release": sessions.releases}
    return {name: {one.name: one.title for one in known} for name, known in offered.items() if known}


def ending(sessions: Sessions, rights: Rights) -> dict[str, Any]:
    """When sessions end; how long one may be idle belongs to its size."""
    return {
        "idle_warning_minutes": sessions.idle_warning_minutes,
        "max_age_hours": lambda user: max_age_hours(
            [group.name for group in user.groups], rights, sessions.max_age_hours
        ),
    }


def resources(size: Size, *, own_numbers: bool) -> dict[str, Any]:
    """What a size is, as the spawner names it; memory is in bytes there.

    Args:
        size: Of sessions.
        own_numbers: Whether each user has another number. Only then the processes of a user are those of a session.
    """
    cores = size.cores / 10 if size.cores_guaranteed is None else size.cores_guaranteed
    memory_gib = size.memory_gib / 4 if size.memory_gib_guaranteed is None else size.memory_gib_guaranteed
    processes = {"CYGNET_PROCESSES": str(size.processes)} if size.processes and own_numbers else {}
    return {
        "cpu_limit": size.cores,
        "cpu_guarantee": cores,
        "mem_limit": round(size.memory_gib * GIB),
        "mem_guarantee": round(memory_gib * GIB),
        # /tmp and what the container logs. Without a guarantee of its own Kubernetes would keep all of it free.
        "extra_resource_limits": {"ephemeral-storage": f"{size.tmp_gib:g}Gi"},
        "extra_resource_guarantees": {"ephemeral-storage": "64Mi"},
        "environment": processes,
        "idle_hours": size.idle_hours,
    }


def profile(one: Profile, sessions: Sessions, *, default: bool) -> dict[str, Any]:
    """A choice on the start page, as the spawner wants it."""
    # An override replaces the common selector, it is not added to it.
    nodes = {**sessions.node_selector, **one.node_selector}
    return {
        "slug": one.name,
        "display_name": one.title,
        "description": one.description or f"{one.cores:g} cores, {one.memory_gib:g} GiB of memory",
        "default": default,
        "kubespawner_override": {
            **resources(one, own_numbers=sessions.home is None),
            "node_selector": nodes,
        },
    }


def release(one: Release) -> tuple[str, dict[str, Any]]:
    """A choice of software, by its name, as the spawner wants it; the first one is the default."""
    described = {"display_name": one.title, "description": one.description}
    return one.name, {**described, "kubespawner_override": {"environment": _literal({"CYGNET_VIEW": one.view})}}


def _literal(environment: dict[str, str]) -> dict[str, str]:
    """The same values for a spawner that would expand what stands in braces.

    >>> _literal({"PS1": "{me}"})
    {'PS1': '{{me}}'}
    """
    return {name: value.replace("{", "{{").replace("}", "}}") for name, value in environment.items()}

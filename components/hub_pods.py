"""The hub's own pods, and what it may do in the cluster: as plain data."""

from collections.abc import Mapping
from typing import Any

from components import postgresql
from components.kubernetes import NO_OTHER, SCRATCH, container, pod_template
from components.policies import (
    HUB_NAMESPACE,
    HUB_PORT,
    MONITOR_SIGN_IN_PORT,
    PROXY_API_PORT,
    PROXY_PORT,
    SIGN_IN_PORT,
    labels,
)

_SETTINGS = "/etc/cygnet"
_SECRETS = "/etc/cygnet/secrets"
_STATE = "/srv/jupyterhub"
DATABASE = "jupyterhub"
"""The hub's, where that is a server."""
DATABASE_CLAIM = "hub-database"


HUB_PORTS = {"api": HUB_PORT, "sign-in": SIGN_IN_PORT, "monitor": MONITOR_SIGN_IN_PORT}
"""The hub's own, and those of its services, by name; nothing listens at one of a page that the stack has not."""


def hub_spec(images: Mapping[str, str], started_with: str, *, on_control_plane: bool = True) -> dict[str, Any]:
    """One hub; it may only be one, whatever its database is: JupyterHub keeps in memory what it does.

    Args:
        images: Of hub, and of postgresql where that is its database.
        started_with: Another one starts another pod.
        on_control_plane: Whether it runs there; else anywhere.
    """
    hub = container(
        "hub",
        images["hub"],
        ports=HUB_PORTS,
        mounts={"settings": _SETTINGS, "secrets": _SECRETS, "database": _STATE, "scratch": SCRATCH},
        requests={"cpu": "50m", "memory": "200Mi"},
        limits={"memory": "1Gi"},
        ready={"httpGet": {"path": "/hub/health", "port": "api"}, "periodSeconds": 2, **NO_OTHER},
        alive={"httpGet": {"path": "/hub/health", "port": "api"}},
    )
    before, volumes = [], {}
    if "postgresql" in images:
        before = [postgresql.container_of(images["postgresql"], DATABASE, data="server")]
        volumes = {"server": {"persistentVolumeClaim": {"claimName": DATABASE_CLAIM}}}
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels("hub")},
        "template": pod_template(
            labels("hub"),
            hub,
            before=before,
            annotations={"cygnet.io/settings": started_with},
            volumes={
                "settings": {"configMap": {"name": "hub"}},
                "secrets": {"secret": {"secretName": "hub", "defaultMode": 0o440}},
                "database": {"persistentVolumeClaim": {"claimName": "hub"}},
                "scratch": {"emptyDir": {}},
                **volumes,
            },
            service_account="hub",
            on_control_plane=on_control_plane,
        ),
    }


def proxy_spec(image: str, started_with: str, *, on_control_plane: bool = True) -> dict[str, Any]:
    """The proxy that knows which session is whose; it goes on while the hub restarts."""
    proxy = container(
        "proxy",
        image,
        args=[
            f"--port={PROXY_PORT}",
            "--api-ip=0.0.0.0",
            f"--api-port={PROXY_API_PORT}",
            f"--default-target=http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}",
            f"--error-target=http://hub.{HUB_NAMESPACE}.svc:{HUB_PORT}/hub/error",
        ],
        ports={"http": PROXY_PORT, "api": PROXY_API_PORT},
        env={"CONFIGPROXY_AUTH_TOKEN": {"secretKeyRef": {"name": "hub", "key": "proxy-token"}}},
        requests={"cpu": "50m", "memory": "80Mi"},
        limits={"memory": "512Mi"},
        ready={"tcpSocket": {"port": "http"}, "periodSeconds": 2, **NO_OTHER},
        alive={"httpGet": {"path": "/_chp_healthz", "port": "http"}},
    )
    return {
        "replicas": 1,
        "strategy": {"type": "Recreate"},  # two would each know half of the sessions
        "selector": {"matchLabels": labels("proxy")},
        "template": pod_template(
            labels("proxy"),
            proxy,
            annotations={"cygnet.io/settings": started_with},
            on_control_plane=on_control_plane,
        ),
    }


HUB_RULES: list[dict[str, Any]] = [
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "create", "delete"]},
    {"apiGroups": [""], "resources": ["persistentvolumeclaims"], "verbs": ["get", "list", "watch", "create"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["get", "list", "watch"]},
]
"""What the hub may do in the namespace of sessions. It may not delete a home."""

NODE_RULES: list[dict[str, Any]] = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
"""What the hub may see of machines."""

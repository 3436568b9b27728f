"""The login machine: the homes and software of sessions, by SSH."""

import json
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as k8s
from pydantic import Field

from components.auth import Auth
from components.base import PartConfig
from components.cluster import OwnCluster
from components.cvmfs import Cvmfs
from components.eos import Eos, home
from components.kubernetes import DNS_EGRESS, SCRATCH, container, digest, pod_template
from components.policies import from_networks, outside
from components.registry import Registry
from components.secrets import KeyPair
from components.software import Software
from components.storage import Storage

_NAMESPACE = "login"
_LABELS = {"app.kubernetes.io/name": "login"}
_PORT = 2022  # inside the pod
_SETTINGS = "/etc/cygnet/login"
_RECORD = "/var/log/cygnet"
_USERS = "/var/lib/extrausers"
_GROUP_ID = 100  # "users", as sessions have it

_CAPABILITIES = ["AUDIT_WRITE", "CHOWN", "FOWNER", "KILL", "SETGID", "SETUID", "SYS_CHROOT"]
"""What sshd needs of root: to become its users, to give them their terminals, and to record that it did."""


class LoginConfig(PartConfig):
    """What a stack says about its login machine, under `cygnet:login`."""

    enabled: Annotated[bool, Field(description="Whether there is one; it needs homes on EOS")] = False
    port: Annotated[int, Field(ge=1024, le=65535, description="TCP port at the service's address")] = 2022
    allowed_networks: Annotated[
        tuple[IPv4Network, ...], Field(description="Who may connect, e.g. [192.0.2.0/24]; empty: all")
    ] = ()
    cores: Annotated[float, Field(gt=0, le=256, description="Cores that all its users together may use")] = 2
    memory_gib: Annotated[float, Field(gt=0, le=4096, description="GiB of memory, of all together")] = 4


class Login(pulumi.ComponentResource):
    """An SSH server in the image of sessions, on each control plane machine. Stands on what sessions stand on.

    Gives `told`: `address` ("10.240.1.11:2022") and `host_key`, by which SSH clients know it; nothing where it is not
    wanted.
    """

    told: pulumi.Output[dict[str, str]]

    def __init__(
        self,
        name: str,
        config: LoginConfig,
        *,
        cluster: OwnCluster,
        registry: Registry,
        storage: Storage,
        software: Software,
        cvmfs: Cvmfs,
        eos: Eos,
        auth: Auth,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Login", name, None, opts)
        self.told = pulumi.Output.from_input({})
        if config.enabled:
            self._cluster = cluster
            self._inside = cluster.inside(self)
            # For a port of the machine.
            self._namespace = cluster.namespace(_NAMESPACE, level="privileged", parent=self)
            comment = f"login machine of {pulumi.get_stack()}"
            key = KeyPair(name, rotates="login", comment=comment, opts=pulumi.ResourceOptions(parent=self))
            self._policy(config)
            users = self._users(name, auth, key)
            metadata = {"name": "record", "namespace": self._namespace}
            storage.claim(f"{name}-record", metadata=metadata, access="ReadWriteMany", opts=self._inside)
            servers = k8s.apps.v1.DaemonSet(
                name,
                metadata=self._metadata(),
                spec=pulumi.Output.all(
                    image=registry.image("login"),
                    releases=software.releases,
                    folders=pulumi.Output.all(cvmfs.folder, eos.folder),
                    users=users,
                ).apply(lambda given: daemon_set_spec(config, **given)),
                opts=self._inside,
            )
            self.told = pulumi.Output.all(cluster.public_address, key.public_key, servers.id).apply(
                lambda known: {"address": f"{known[0]}:{config.port}", "host_key": known[1]}
            )
        self.register_outputs({"told": self.told})

    def _metadata(self) -> dict[str, Any]:
        return {"name": "login", "namespace": self._namespace}

    def _policy(self, config: LoginConfig) -> None:
        k8s.networking.v1.NetworkPolicy(
            "login",
            metadata=self._metadata(),
            spec=self._cluster.inner_networks.apply(lambda networks: network_policy(config, networks)),
            opts=self._inside,
        )

    def _users(self, name: str, auth: Auth, key: KeyPair) -> pulumi.Output[str]:
        """Makes the Secret of who may sign in; gives a digest of what of it sshd reads at its start only."""
        files = auth.hashes.apply(lambda hashes: user_files(hashes, auth.user_ids))
        k8s.core.v1.Secret(
            name,
            metadata=self._metadata(),
            string_data=pulumi.Output.all(files, key.private_key).apply(
                lambda known: {**known[0], "ssh_host_ed25519_key": known[1]}
            ),
            opts=self._inside,
        )
        return digest(key.public_key)


def user_files(hashes: Mapping[str, str], user_ids: Mapping[str, int]) -> dict[str, str]:
    r"""What says who is who: `passwd` for programs, and `accounts.json` for whoever checks a password.

    >>> user_files({"ada": "$argon2id$..."}, {"ada": 70000})["passwd"]
    'ada:x:70000:100:ada:/eos/user/a/ada:/bin/bash\n'
    """
    lines = [f"{name}:x:{number}:{_GROUP_ID}:{name}:{home(name)}:/bin/bash\n" for name, number in user_ids.items()]
    accounts = {name: {"hash": hashed} for name, hashed in hashes.items()}
    return {"passwd": "".join(lines), "accounts.json": json.dumps(accounts, sort_keys=True)}


def network_policy(config: LoginConfig, not_outside: Sequence[str]) -> dict[str, Any]:
    """Who may connect, and that its users reach what sessions reach: DNS and the outside, and nothing of the stack."""
    return {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [from_networks(config.allowed_networks, _PORT)],
        "egress": [DNS_EGRESS, outside(not_outside)],
    }


def daemon_set_spec(
    config: LoginConfig,
    *,
    image: str,
    releases: Sequence[Mapping[str, str]],
    folders: Sequence[str],
    users: str,
) -> dict[str, Any]:
    """An SSH server on each control plane: the service's address leads to one of them.

    Args:
        config: What the stack says.
        image: Of the login machine.
        releases: The software, as `Software.releases` gives it; a shell begins with the first.
        folders: Of the machine, that its users see at the same place.
        users: A digest of what sshd reads at its start; another one starts it anew.
    """
    mounts = {folder.strip("/"): folder for folder in folders}
    view = [f"-oSetEnv=CYGNET_VIEW={release['view']}" for release in releases[:1]]
    sshd = container(
        "sshd",
        image,
        args=view,
        ports={"ssh": (_PORT, config.port)},
        mounts={
            "users": _SETTINGS,
            "passwd": _USERS,
            "record": _RECORD,
            "run": "/run/sshd",
            "scratch": SCRATCH,
            **mounts,
        },
        requests={"cpu": "10m", "memory": "64Mi"},
        limits={"cpu": f"{config.cores:g}", "memory": f"{config.memory_gib:g}Gi"},
        ready={"tcpSocket": {"port": "ssh"}, "periodSeconds": 2},
    )
    for mount in sshd["volumeMounts"]:
        if mount["name"] in mounts:
            # What the machine mounts there later is seen, such as a client that was started anew.
            mount["mountPropagation"] = "HostToContainer"
    # It is root, to become its users; they get no right beyond a user's.
    sshd["securityContext"] |= {
        "runAsUser": 0,
        "runAsNonRoot": False,
        "capabilities": {"drop": ["ALL"], "add": _CAPABILITIES},
    }
    template = pod_template(
        _LABELS,
        sshd,
        annotations={"cygnet.io/settings": users},
        volumes={
            "users": _secret(0o400, "accounts.json", "ssh_host_ed25519_key"),
            "passwd": _secret(0o444, "passwd"),
            "record": {"persistentVolumeClaim": {"claimName": "record"}},
            "run": {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            "scratch": {"emptyDir": {"sizeLimit": "10Gi"}},
            **{name: {"hostPath": {"path": folder, "type": "Directory"}} for name, folder in mounts.items()},
        },
        on_control_plane=True,
    )
    # Files of the Secret are root's alone, and not of a group that users have.
    template["spec"]["securityContext"] = {"runAsUser": 0, "runAsGroup": 0}
    return {"selector": {"matchLabels": _LABELS}, "template": template}


def _secret(mode: int, *keys: str) -> dict[str, Any]:
    return {
        "secret": {"secretName": "login", "defaultMode": mode, "items": [{"key": key, "path": key} for key in keys]}
    }

"""Servers of an OpenStack project: what each is made of, and that it stays what it was made of."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_openstack as provider

from components.secrets import KeyPair

RENEW: Final = "CYGNET_RENEW"
"""The variable of the environment that names machines that may be made anew."""

_MADE_OF: Final = ("image_id", "block_devices", "flavor_id", "flavor_name", "availability_zone")


@dataclass(frozen=True)
class ServerConfig:
    """One server to be made."""

    name: str
    group: str
    """As the stack calls it."""
    role: str
    """What it does in the cluster: "control_plane" or "worker"."""
    flavor: str
    image: str | None = None
    """None: that of all servers."""
    availability_zone: str | None = None
    volume_gib: int | None = None
    """Size of the volume that it boots from; None: the disk of its flavor."""
    volume_type: str | None = None


def make(
    config: ServerConfig,
    *,
    stack: str,
    image_id: pulumi.Input[str],
    flavor_id: pulumi.Input[str] | None,
    key: provider.compute.Keypair,
    host_key: KeyPair,
    apart: provider.compute.ServerGroup,
    networks: Sequence[provider.compute.InstanceNetworkArgs],
    security_groups: Sequence[pulumi.Input[str]] | None,
    opts: pulumi.ResourceOptions,
) -> provider.compute.Instance:
    """One server. While it runs it stays what it was made of, whatever the stack says later.

    Servers are drained and replaced one by one (`cygnet renew`), and not all at once because a word was changed.

    Args:
        config: What it is to be.
        stack: With what its name in the cloud begins.
        image_id: Of its image.
        flavor_id: Of its flavor, if the stack made that: its name is found by nobody but administrators.
        key: What lets the operator in; it has the stack's name.
        host_key: By which it is known.
        apart: From whose other members it keeps apart.
        networks: Where it is plugged in.
        security_groups: Names of those that it is a member of; None: they are its port's.
        opts: Of all resources.
    """
    own = pulumi.ResourceOptions(
        # What is in use by a server cannot be given to another one: the former has to be gone.
        delete_before_replace=True,
        ignore_changes=[] if config.name in renewed() else list(_MADE_OF),
        # Nova would resize the server, and so stop it undrained.
        replace_on_changes=["flavor_id", "flavor_name"],
        additional_secret_outputs=["user_data"],
        depends_on=[key],
    )
    return provider.compute.Instance(
        config.name,
        name=f"{stack}-{config.name}",
        metadata={"cygnet_stack": pulumi.get_stack()},
        image_id=None if config.volume_gib else image_id,
        block_devices=_boots_from(config, image_id) if config.volume_gib else None,
        flavor_id=flavor_id,
        flavor_name=None if flavor_id else config.flavor,
        availability_zone=config.availability_zone,
        # Not the name that the key pair gives: whatever depends on that goes when another key takes its place.
        key_pair=stack,
        security_groups=security_groups,
        networks=networks,
        scheduler_hints=[provider.compute.InstanceSchedulerHintArgs(group=apart.id)],
        user_data=pulumi.Output.all(config.name, host_key.private_key, host_key.public_key).apply(
            lambda given: user_data(*given)
        ),
        opts=pulumi.ResourceOptions.merge(opts, own),
    )


def renewed() -> frozenset[str]:
    """The machines that this run of the program may make anew: those that `cygnet renew` names."""
    return frozenset(os.environ.get(RENEW, "").split())


def user_data(name: str, host_private_key: str, host_public_key: str) -> str:
    """What cloud-init does on a server: its name, and the key by which it is known. JSON is YAML, too.

    >>> user_data("worker-1", "p", "q").splitlines()[0]
    '#cloud-config'
    """
    document = {
        "hostname": name,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": host_private_key, "ed25519_public": host_public_key},
    }
    return f"#cloud-config\n{json.dumps(document)}\n"


def _boots_from(config: ServerConfig, image_id: pulumi.Input[str]) -> list[provider.compute.InstanceBlockDeviceArgs]:
    """The volume that a server boots from, made of its image and gone with it."""
    return [
        provider.compute.InstanceBlockDeviceArgs(
            uuid=image_id,
            source_type="image",
            destination_type="volume",
            volume_size=config.volume_gib,
            volume_type=config.volume_type,
            boot_index=0,
            delete_on_termination=True,
        )
    ]

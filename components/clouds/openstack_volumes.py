"""Volumes for data that outlives servers: homes or caches, attached to one machine each and mounted there."""

from typing import Annotated, Any, Literal

import pulumi
import pulumi_openstack as provider
from pydantic import Field

from components.base import PartConfig


class DataVolumeConfig(PartConfig):
    """A volume for data, attached to a machine."""

    size_gib: Annotated[int, Field(ge=1, description="Its size; a larger one later grows it, a smaller one is refused")]
    machine: Annotated[str, Field(description="To which it is attached, for example control-plane-1")]
    folder: Annotated[
        str, Field(pattern=r"^(/[A-Za-z0-9._-]+)+$", description="Where it is mounted there, for example /srv/homes")
    ]
    type: Annotated[str | None, Field(description="Its volume type; none: the cloud's own choice")] = None
    file_system: Annotated[
        Literal["ext4", "btrfs"], Field(description="What an empty one gets; a part may ask for one, as eos for btrfs")
    ] = "ext4"
    protect: Annotated[bool, Field(description="Whether Pulumi refuses to remove it")] = True


class DataVolume:
    """A volume at its server. Gives `mount`, what the role `machines` needs to mount it."""

    mount: pulumi.Output[dict[str, Any]]

    def __init__(
        self,
        name: str,
        config: DataVolumeConfig,
        *,
        stack: str,
        server: provider.compute.Instance,
        opts: pulumi.ResourceOptions,
    ) -> None:
        volume = provider.blockstorage.Volume(
            name,
            name=f"{stack}-{name}",
            size=config.size_gib,
            volume_type=config.type,
            metadata={"cygnet_stack": pulumi.get_stack()},
            enable_online_resize=True,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=config.protect)),
        )
        attached = provider.compute.VolumeAttach(
            name,
            instance_id=server.id,
            volume_id=volume.id,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
        )
        self.mount = pulumi.Output.all(volume.id, attached.device).apply(
            lambda known: {
                "volume": known[0],
                "device": known[1],
                "folder": config.folder,
                "file_system": config.file_system,
            }
        )

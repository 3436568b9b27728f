"""Flavors that a stack makes for itself, where the operator is an administrator: those with GPUs, mostly."""

from collections.abc import Mapping
from typing import Annotated

import pulumi
import pulumi_openstack as provider
from pydantic import Field, model_validator

from components.base import PartConfig


class FlavorConfig(PartConfig):
    """A flavor to be made.

    What brings a GPU is among `extra_specs`, and depends on the cloud: an alias of PCI devices
    (`pci_passthrough:alias: t4:1`), a resource of Placement (`resources:VGPU: 1`), or a class of the cloud's own
    (`resources:CUSTOM_GPU_T4: 1`).
    """

    cores: Annotated[int, Field(ge=1, description="Virtual cores")]
    memory_gib: Annotated[float, Field(gt=0, description="Memory")]
    disk_gib: Annotated[int, Field(ge=0, description="Disk; 0: for machines that boot from a volume")] = 0
    extra_specs: Annotated[
        dict[str, str],
        Field(description="What else it asks for, e.g. {pci_passthrough:alias: t4:1}, or resources:VGPU"),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _memory_is_whole(self) -> "FlavorConfig":
        if (self.memory_gib * 1024) % 1:
            raise ValueError(f"memory_gib {self.memory_gib} is no whole number of MiB; take a multiple of 0.25")
        return self


def make_flavors(
    wanted: Mapping[str, FlavorConfig], stack: str, opts: pulumi.ResourceOptions
) -> dict[str, pulumi.Output[str]]:
    """Makes flavors that only administrators see; gives their IDs, by the names that groups call them."""
    return {
        name: provider.compute.Flavor(
            name,
            name=f"{stack}-{name}",
            vcpus=flavor.cores,
            ram=int(flavor.memory_gib * 1024),
            disk=flavor.disk_gib,
            extra_specs=flavor.extra_specs,
            is_public=False,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(delete_before_replace=True)),
        ).id
        for name, flavor in wanted.items()
    }

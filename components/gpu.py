"""GPUs of NVIDIA's: their driver, and what makes them known to Kubernetes, on the machines that have some."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pulumi

from components.cluster import OwnCluster
from components.machines import Machines
from components.playbook import Playbook
from components.sources.groups import GpuConfig
from components.sources.source import Host

TOOLS: Final = ("nvidia-device-plugin",)
"""What of `engine/` these machines get besides; nobody else has it built."""


class Gpu(pulumi.ComponentResource):
    """Makes GPUs known to Kubernetes. Stands on machines and their cluster.

    What a machine has is said where it is said that there is such a machine: by its group, or by itself. Gives `told`:
    what each machine offers, by its name.
    """

    told: dict[str, dict[str, Any]]

    def __init__(
        self,
        name: str,
        gpus: Mapping[str, GpuConfig],
        *,
        machines: Machines,
        cluster: OwnCluster,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("cygnet:index:Gpu", name, None, opts)
        self.told = {
            machine: {"model": gpu.model, "driver": gpu.driver, "resource": gpu.resource, "count": gpu.offered}
            for machine, gpu in gpus.items()
        }
        ours = {machine: gpu for machine, gpu in gpus.items() if gpu.driver != "none"}
        if ours:
            Playbook(
                name,
                "gpu.yml",
                hosts=machines.hosts.apply(lambda hosts: with_gpus(hosts, ours)),
                private_key=machines.private_key,
                variables={},
                tools=TOOLS,
                # The kubelet has to run: what is told to it is seen to arrive.
                opts=pulumi.ResourceOptions(parent=self, depends_on=cluster.members),
            )
        self.register_outputs({"told": self.told})


def with_gpus(hosts: Sequence[Host], gpus: Mapping[str, GpuConfig]) -> list[Host]:
    """The hosts that have GPUs, each with what the role `gpu` has to know of them.

    >>> hosts = [{"name": "worker-1", "variables": {}}, {"name": "gpu-1", "variables": {"a": 1}}]
    >>> [host["name"] for host in with_gpus(hosts, {"gpu-1": GpuConfig(model="t4")})]
    ['gpu-1']
    """
    return [
        {**host, "variables": {**host["variables"], **variables(gpus[host["name"]])}}
        for host in hosts
        if host["name"] in gpus
    ]


def variables(gpu: GpuConfig) -> dict[str, Any]:
    """Variables of the role `gpu`, for one machine."""
    return {
        "gpu_driver": gpu.driver,
        "gpu_count": gpu.count,
        "gpu_slices": gpu.slices,
        "gpu_mig": gpu.mig or "",
        "gpu_resource": gpu.resource,
    }

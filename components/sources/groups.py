"""Groups of machines that a source makes: how many, of what kind, and what the cluster is told of them.

There is one group of control planes. All other groups are of workers: `worker`, and any that a stack names. A machine
is called after its group and its number: worker-2, gpu-t4-1.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from components.base import PartConfig
from components.local_machines import names

ETCD_MEMBERS: Final = (1, 3, 5)
GPU_TAINT: Final = "nvidia.com/gpu"
"""Keeps off what asks for no GPU; the key is the one that NVIDIA's device plugin, and the pods of others, tolerate."""

_OURS: Final = "cygnet.io/"
_NAME: Final = r"^(?!control|worker)[a-z]([a-z0-9-]{0,28}[a-z0-9])?$"
"""Of a further group. What begins as the two that are always there do is taken for one of these, misspelt."""
_KEY: Final = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_VALUE: Final = r"^([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$"
_MOST_WORKERS: Final = 200


class GpuConfig(PartConfig):
    """What a machine has of GPUs of NVIDIA's, and who makes them known to Kubernetes."""

    model: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", description="For example t4 or v100")]
    count: Annotated[int, Field(ge=1, le=16, description="How many in each machine")] = 1
    driver: Annotated[
        Literal["install", "present", "none"],
        Field(
            description="install: NVIDIA's driver, from the machine's own package sources; present: the machine has "
            "it; none: nothing is done on the machine, its GPUs are made known by others"
        ),
    ] = "install"
    slices: Annotated[
        int,
        Field(
            ge=1,
            le=64,
            description="Into how many each is cut, one of which a session has; in time, without a border between "
            "their memories, or by mig",
        ),
    ] = 1
    mig: Annotated[
        str | None,
        Field(
            pattern=r"^[1-9]g\.[1-9]\d{0,2}gb(\+[a-z.]{1,10})?$",
            description="The profile by which the device itself cuts them (MIG), for example 1g.5gb; sizes of sessions "
            "then say resource: nvidia.com/mig-1g.5gb",
        ),
    ] = None

    @model_validator(mode="after")
    def _is_cut_by_somebody(self) -> "GpuConfig":
        if self.mig and "slices" not in self.model_fields_set:
            raise ValueError(
                f"mig is {self.mig}, and slices does not say into how many of these each GPU is cut; "
                "`nvidia-smi mig -lgip` shows how many it has room for"
            )
        if self.driver == "none" and (self.mig or self.slices > 1):
            raise ValueError(
                "slices and mig are for GPUs that the stack makes known; with driver none others do it, and cut them"
            )
        return self

    @property
    def resource(self) -> str:
        """What Kubernetes calls each of them, or each slice, in NVIDIA's words.

        >>> GpuConfig(model="a100", slices=7, mig="1g.5gb+me").resource
        'nvidia.com/mig-1g.5gb.me'
        """
        return f"nvidia.com/mig-{self.mig.replace('+', '.')}" if self.mig else "nvidia.com/gpu"

    @property
    def offered(self) -> int:
        """How many of these each machine has."""
        return self.count * self.slices


class TaintConfig(PartConfig):
    """What keeps pods off the machines of a group that do not tolerate it."""

    key: Annotated[str, Field(pattern=_KEY, description="For example example.org/owner")]
    value: Annotated[str, Field(pattern=_VALUE, description="For example physics")] = ""
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"], Field(description="What becomes of such pods")
    ] = "NoSchedule"

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}"


class GroupConfig(PartConfig):
    """What all groups have."""

    flavor: Annotated[str | None, Field(description="For source openstack: the flavor of each, by name")] = None
    image: Annotated[
        str | None, Field(description="For source openstack: the image of each; none: that of openstack.image")
    ] = None
    availability_zone: Annotated[
        str | None, Field(description="For source openstack: where they are; none: the cloud chooses")
    ] = None
    volume_gib: Annotated[
        int | None,
        Field(
            ge=4, description="For source openstack: size of the volume that each boots from; none: its flavor's disk"
        ),
    ] = None
    volume_type: Annotated[
        str | None, Field(description="For source openstack: type of that volume; none: the cloud's own choice")
    ] = None

    @model_validator(mode="after")
    def _a_type_is_of_a_volume(self) -> "GroupConfig":
        if self.volume_type and not self.volume_gib:
            raise ValueError("volume_type is of the volume that machines boot from; give volume_gib too, or remove it")
        return self


class ControlPlaneConfig(GroupConfig):
    """The machines that run Kubernetes itself."""

    count: Annotated[int, Field(description="How many: 1, 3 or 5")] = 1
    memory_gib: Annotated[int, Field(ge=2, description="For source local: memory of each")] = 4

    @field_validator("count")
    @classmethod
    def _can_vote(cls, count: int) -> int:
        return check_control_plane(count)


class WorkerConfig(GroupConfig):
    """The machines that run what users see."""

    count: Annotated[
        int,
        Field(
            ge=0,
            le=_MOST_WORKERS,
            description="How many; 0 in all groups of workers: the control plane does their work too",
        ),
    ] = 2
    memory_gib: Annotated[int, Field(ge=1, description="For source local: memory of each")] = 6
    gpu: Annotated[GpuConfig | None, Field(description="The GPUs of each; only pods that ask for one start there")] = (
        None
    )
    labels: Annotated[
        dict[Annotated[str, Field(pattern=_KEY)], Annotated[str, Field(pattern=_VALUE)]],
        Field(description="Further labels of their nodes"),
    ] = Field(default_factory=dict)
    taints: Annotated[tuple[TaintConfig, ...], Field(description="Further taints of their nodes")] = ()

    @field_validator("labels")
    @classmethod
    def _labels_are_not_ours(cls, labels: dict[str, str]) -> dict[str, str]:
        if ours := [key for key in labels if key.startswith(_OURS)]:
            raise ValueError(f"{', '.join(ours)}: labels that begin with {_OURS} are set by the service; take another")
        return labels


class GroupsConfig(
    PartConfig,
    extra="allow",
    json_schema_extra={"propertyNames": {"pattern": f"^(control_plane|worker)$|{_NAME}"}},
):
    """The machines that a source makes, by what they do; further groups of workers have names of your choice."""

    __pydantic_extra__: dict[str, WorkerConfig] = Field(init=False)

    control_plane: ControlPlaneConfig = Field(default_factory=ControlPlaneConfig)
    worker: WorkerConfig = Field(default_factory=WorkerConfig)

    @model_validator(mode="after")
    def _names_are_for_machines(self) -> "GroupsConfig":
        for name in self.named:
            if not re.match(_NAME, name):
                near = difflib.get_close_matches(name, ("control_plane", "worker"), n=1, cutoff=0)[0]
                raise ValueError(
                    f"no group can be called {name}: did you mean '{near}'? Machines are called after their group, so "
                    "a further one has a name such as gpu-t4: lowercase letters, digits and hyphens, at most 30"
                )
        return self

    @property
    def named(self) -> Mapping[str, WorkerConfig]:
        """The further groups, by name."""
        return self.__pydantic_extra__

    @property
    def workers(self) -> Mapping[str, WorkerConfig]:
        """All groups of workers, by name."""
        return {"worker": self.worker, **self.named}

    @property
    def all(self) -> Mapping[str, ControlPlaneConfig | WorkerConfig]:
        """All groups by name, the control plane first."""
        return {"control_plane": self.control_plane, **self.workers}


@dataclass(frozen=True)
class Node:
    """What the cluster is told of a machine."""

    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[str, ...] = ()
    """As kubectl writes them, "key=value:NoSchedule"."""


def machines(groups: GroupsConfig) -> Iterator[tuple[str, str, ControlPlaneConfig | WorkerConfig]]:
    """Name, group and size of each machine that is to be made, the control plane first.

    >>> [name for name, _, _ in machines(GroupsConfig.model_validate({"worker": {"count": 1}, "gpu": {"count": 1}}))]
    ['control-plane-1', 'worker-1', 'gpu-1']
    """
    for group, size in groups.all.items():
        for index in range(1, size.count + 1):
            yield names.machine_name(group, index), group, size


def role(group: str) -> str:
    """What a group's machines do in the cluster: "control_plane" or "worker"; the groups of the inventory."""
    return group if group == "control_plane" else "worker"


def node(group: str, size: ControlPlaneConfig | WorkerConfig | None = None, gpu: GpuConfig | None = None) -> Node:
    """What the cluster is told of a group's machines, or of a machine with `gpu` that no group was made for.

    >>> node("gpu-t4", WorkerConfig(gpu=GpuConfig(model="t4"))).taints
    ('nvidia.com/gpu=present:NoSchedule',)
    """
    labels = {f"{_OURS}group": group.replace("_", "-")}
    taints: tuple[str, ...] = ()
    if isinstance(size, WorkerConfig):
        gpu, labels, taints = size.gpu, {**labels, **size.labels}, tuple(str(taint) for taint in size.taints)
    if gpu:
        labels |= {f"{_OURS}gpu": gpu.model, f"{_OURS}gpu-count": str(gpu.count)}
        taints = (f"{GPU_TAINT}=present:NoSchedule", *taints)
    return Node(labels, taints)


def check_control_plane(count: int) -> int:
    """Returns the number of control planes if etcd can work with it.

    Raises:
        ValueError: It cannot.
    """
    if count not in ETCD_MEMBERS:
        raise ValueError(
            f"a control plane has 1, 3 or 5 machines, not {count}: etcd needs a majority, and an even number survives "
            "no more failures than one less"
        )
    return count

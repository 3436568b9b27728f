"""Sizes of sessions: what each may use, what is kept for it, and for whom it is."""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from components.base import PartConfig
from components.sign_in.rights import RightsConfig
from components.sources.groups import GpuConfig

STANDARD = "standard"
"""The size that every stack has."""
GPU_IDLE_HOURS = 4
"""Others wait for what such a session has, also where all others may be idle for longer."""
_INHERITED = {"tmp_gib", "processes", "idle_hours"}
"""What a further size has of the standard one where it says nothing else."""


class GpuOfSizeConfig(PartConfig):
    """The GPUs of a session. Such sessions start on machines with that model, and wait for their turn in a list."""

    model: Annotated[
        str,
        Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$", description="For example t4; as machines.groups has it"),
    ]
    count: Annotated[int, Field(ge=1, le=16, description="How many, of one machine")] = 1
    resource: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9.-]{1,100}/[A-Za-z0-9._-]{1,63}$",
            description="What machines call them in Kubernetes; slices by MIG have names of their own, such as "
            "nvidia.com/mig-1g.5gb",
        ),
    ] = "nvidia.com/gpu"


class SizeConfig(PartConfig):
    """A further size of sessions, on the start page."""

    title: Annotated[str, Field(min_length=1, max_length=60, description="What users read")]
    cores: Annotated[float, Field(gt=0, le=256, description="Cores a session may use when they are free")]
    memory_gib: Annotated[float, Field(gt=0, le=4096, description="GiB of memory at which a session is ended")]
    cores_guaranteed: Annotated[
        float | None, Field(gt=0, le=256, description="Cores kept for each session; none: a tenth of cores")
    ] = None
    memory_gib_guaranteed: Annotated[
        float | None,
        Field(gt=0, le=4096, description="GiB of memory kept for each session; none: a quarter of memory_gib"),
    ] = None

    tmp_gib: Annotated[
        float | None, Field(gt=0, le=4096, description="GiB of /tmp, above which a session is ended; none: the hub's")
    ] = None
    processes: Annotated[
        int | None, Field(ge=100, le=100_000, description="Processes and threads a user may have; none: the hub's")
    ] = None
    idle_hours: Annotated[
        float | None,
        Field(
            ge=0,
            le=720,
            description="Hours without use after which a session ends; 0: never; none: the hub's, or "
            f"{GPU_IDLE_HOURS} with GPUs",
        ),
    ] = None
    gpu: Annotated[GpuOfSizeConfig | None, Field(description="Its GPUs; none: it has none")] = None

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> "SizeConfig":
        check_guarantees(self)
        return self


def check_models(sizes: Mapping[str, SizeConfig]) -> None:
    """Returns when each model of GPUs is one resource: they are counted by model. Raises ValueError."""
    first: dict[str, tuple[str, str]] = {}
    for name, gpu in ((name, size.gpu) for name, size in sizes.items() if size.gpu):
        other, resource = first.setdefault(gpu.model, (name, gpu.resource))
        if resource != gpu.resource:
            raise ValueError(
                f"sizes.{name}.gpu is {gpu.model} by {gpu.resource}, and sizes.{other}.gpu by {resource}; say the "
                "same, or give machines with slices a model of their own, such as a100-slice"
            )


def check_gpus(sizes: Mapping[str, SizeConfig], offered: Collection[GpuConfig], *, others: bool = False) -> None:
    """Returns when some machine offers what each size wants of GPUs.

    Args:
        sizes: By name.
        offered: What the stack's machines have of GPUs.
        others: Whether there may be machines with GPUs that the stack file does not tell of.

    Raises:
        ValueError: None does.
    """
    for name, wanted in ((name, size.gpu) for name, size in sizes.items() if size.gpu):
        key = f"hub.sizes.{name}.gpu"
        those = [gpu for gpu in offered if gpu.model == wanted.model]
        if not those and not others:
            models = sorted({gpu.model for gpu in offered})
            raise ValueError(
                f"{key}.model is {wanted.model}, and machines.groups has {', '.join(models) or 'no GPUs'}; add a group "
                f"with gpu: {{model: {wanted.model}}}, or correct it"
            )
        for gpu in (gpu for gpu in those if gpu.driver != "none"):
            if wanted.resource != gpu.resource:
                raise ValueError(
                    f"{key}.resource is {wanted.resource}, and machines with {gpu.model} offer {gpu.resource}; say "
                    f"resource: {gpu.resource}"
                )
            if gpu.slices > 1 and not gpu.mig and wanted.count > 1:
                raise ValueError(
                    f"{key}.count is {wanted.count}, and {gpu.model} is cut in time: two slices may be of one GPU, and "
                    "are no more than one; say count: 1, or a model whose machines have no slices"
                )
        if those and all(gpu.driver != "none" and gpu.offered < wanted.count for gpu in those):
            most = max(gpu.offered for gpu in those)
            raise ValueError(
                f"{key}.count is {wanted.count}, and no machine with {wanted.model} has more than {most}: such a "
                "session would never start; lower it"
            )


def check_guarantees(size: PartConfig) -> None:
    """Returns when no more is kept for a session than it may use. Raises ValueError."""
    for limit in ("cores", "memory_gib"):
        guaranteed = f"{limit}_guaranteed"
        if (getattr(size, guaranteed) or 0) > getattr(size, limit):
            raise ValueError(
                f"{guaranteed} ({getattr(size, guaranteed):g}) is more than {limit} ({getattr(size, limit):g}); "
                f"raise {limit}, or lower {guaranteed}"
            )


def profiles(standard: PartConfig, sizes: Mapping[str, SizeConfig], rights: RightsConfig) -> list[dict[str, Any]]:
    """The sizes of sessions on the start page: what is for everyone, then those that the stack adds."""
    common = standard.model_dump(include=_INHERITED)
    added = {
        name: {
            "title": size.title,
            **common,
            **({"idle_hours": GPU_IDLE_HOURS, "gpu": size.gpu.model_dump()} if size.gpu else {}),
            **resources(size),
            "groups": list(rights.features.get(name, ())),
        }
        for name, size in sizes.items()
    }
    return [
        {"name": name, **size}
        for name, size in {STANDARD: {"title": "Standard", **resources(standard)}, **added}.items()
    ]


def resources(size: PartConfig) -> dict[str, float]:
    """What of a size is about resources, as the hub names it."""
    return size.model_dump(
        include={"cores", "cores_guaranteed", "memory_gib", "memory_gib_guaranteed", *_INHERITED}, exclude_none=True
    )

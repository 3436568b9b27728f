"""Sizes of sessions: what each may use, what is kept for it, and for whom it is."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from components.base import PartConfig
from components.sign_in.rights import RightsConfig

STANDARD = "standard"
"""The size that every stack has."""
_INHERITED = {"tmp_gib", "processes", "idle_hours"}
"""What a further size has of the standard one where it says nothing else."""


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
        Field(ge=0, le=720, description="Hours without use after which a session ends; 0: never; none: the hub's"),
    ] = None

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> "SizeConfig":
        check_guarantees(self)
        return self


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
        name: {"title": size.title, **common, **resources(size), "groups": list(rights.features.get(name, ()))}
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

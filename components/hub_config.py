"""What a stack says about its hub and sessions: checked, and told when it cannot be."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig
from components.sign_in.rights import Feature
from components.sizes import GPU_IDLE_HOURS, STANDARD, SizeConfig, check_differ, check_guarantees, check_models

KernelFolder = Annotated[str, StringConstraints(pattern=r"^/(cvmfs|eos)(/\w[\w.+-]*)+$", max_length=200)]
Extension = Literal["swanheader", "swanhelp"]
PageName = Literal["lab", "document"]
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+(\.[a-z0-9-]+)*$", max_length=253)]


class HubConfig(PartConfig):
    """What a stack says about its hub and sessions, under `cygnet:hub`."""

    title: Annotated[str, Field(min_length=1, max_length=60, description="The service's name on its pages")] = "cygnet"
    cores: Annotated[float, Field(gt=0, le=256, description="Cores a session may use when they are free")] = 2
    cores_guaranteed: Annotated[float, Field(gt=0, le=256, description="Cores kept for each session")] = 0.1
    memory_gib: Annotated[float, Field(gt=0, le=4096, description="GiB of memory at which a session is ended")] = 2
    memory_gib_guaranteed: Annotated[float, Field(gt=0, le=4096, description="GiB of memory kept for each session")] = (
        0.5
    )
    tmp_gib: Annotated[float, Field(gt=0, le=4096, description="GiB of /tmp, above which a session is ended")] = 10
    processes: Annotated[
        int,
        Field(
            ge=100,
            le=100_000,
            description="Processes and threads a user may have on a machine, where homes are on /eos; elsewhere the "
            "machines' own limit for a pod holds alone",
        ),
    ] = 2048
    idle_hours: Annotated[
        float,
        Field(
            ge=0,
            le=720,
            description="Hours without use after which a session ends; a kernel that computes and a command in a "
            "terminal are use, a page that lies open is none; 0: never",
        ),
    ] = 4
    idle_warning_minutes: Annotated[
        float, Field(ge=0, le=1440, description="Minutes before its end a session that nobody uses warns its user")
    ] = 15
    max_age_hours: Annotated[
        float,
        Field(
            ge=0,
            le=8760,
            description="Hours after which a session ends as soon as it was not used for five minutes; "
            "cygnet:auth.rights.max_age_hours says it for groups; 0: never",
        ),
    ] = 0
    image_first: Annotated[
        bool,
        Field(
            description="Sessions start only on machines that have their image; one that joins, or has a former image, "
            "takes none before"
        ),
    ] = False
    placeholders: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="Room that is held for so many sessions of the standard size, and given to them when they "
            "come; where machines are added when there is no room, these come before somebody waits",
        ),
    ] = 0
    packed: Annotated[
        bool,
        Field(
            description="Sessions go to the machines that have most of them, so that others become empty and may be "
            "taken away; else they are spread"
        ),
    ] = False
    database: Annotated[
        Literal["sqlite", "postgresql"],
        Field(
            description="Where the hub keeps users, sessions and tokens; sqlite: a file; postgresql: a server beside "
            "the hub, for hundreds of users"
        ),
    ] = "sqlite"
    announcement: Annotated[
        str, Field(description="A line of HTML on top of every page of the hub, e.g. of an outage to come; empty: none")
    ] = ""
    active_session_limit: Annotated[
        int, Field(ge=0, le=100_000, description="Sessions at the same time; 0: as many as fit")
    ] = 0
    sizes: Annotated[
        dict[Feature, SizeConfig],
        Field(description="Further sizes of sessions, by name; cygnet:auth.rights.features says for whom each is"),
    ] = Field(default_factory=dict)
    gpu_claim_minutes: Annotated[
        float,
        Field(gt=0, le=1440, description="Minutes for which a GPU is kept for whoever is first in the waiting list"),
    ] = 10
    page: Annotated[
        Literal["plain", "swan"],
        Field(description="The page on which users choose: our own, or that of CERN's SWAN, with its head and colours"),
    ] = "plain"
    scripts: Annotated[
        bool,
        Field(
            description="Whether users may name a script on the start page, of their home or below /cvmfs, whose "
            "variables their session has"
        ),
    ] = False
    pages: Annotated[
        tuple[PageName, ...],
        Field(
            description="How a session may open, to choose from on the start page: lab is JupyterLab, document is "
            "JupyterLab with one document at a time; empty: JupyterLab"
        ),
    ] = ()
    link_hosts: Annotated[
        tuple[HostName, ...],
        Field(description="Hosts from which links may bring git repositories into a home, by HTTPS; empty: from any"),
    ] = ()
    kernels: Annotated[
        tuple[KernelFolder, ...],
        Field(description="Folders whose kernels/NAME/kernel.json are offered to all who may read them"),
    ] = ()
    extensions: Annotated[
        tuple[Extension, ...],
        Field(description="SWAN's own extensions of JupyterLab: a header, and a menu of help at CERN"),
    ] = ()

    @model_validator(mode="before")
    @classmethod
    def _homes_are_eos(cls, given: Any) -> Any:
        if isinstance(given, dict) and "home_gib" in given:
            raise ValueError("home_gib is cygnet:eos.home_gib now; move it there")
        return given

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> "HubConfig":
        check_guarantees(self)
        return self

    @model_validator(mode="after")
    def _warned_while_in_use(self) -> "HubConfig":
        """A session that warns from its start on would not be read."""
        told = {"": self.idle_hours, **{f"sizes.{name}.": size.idle_hours for name, size in self.sizes.items()}}
        told |= {
            f"sizes.{name}.": float(GPU_IDLE_HOURS)
            for name, size in self.sizes.items()
            if size.gpu and size.idle_hours is None
        }
        for where, hours in told.items():
            if hours and hours * 60 <= self.idle_warning_minutes:
                raise ValueError(
                    f"{where}idle_hours ({hours:g}, which is {hours * 60:g} minutes) is not more than "
                    f"idle_warning_minutes ({self.idle_warning_minutes:g}); lower that, or raise {where}idle_hours"
                )
        return self

    @model_validator(mode="after")
    def _models_are_one_thing(self) -> "HubConfig":
        check_models(self.sizes)
        return self

    @model_validator(mode="after")
    def _sizes_differ_in_what_swan_asks_for(self) -> "HubConfig":
        if self.page == "swan":
            check_differ({STANDARD: self, **self.sizes})
        return self

    @model_validator(mode="after")
    def _standard_is_taken(self) -> "HubConfig":
        if STANDARD in self.sizes:
            raise ValueError(f"sizes.{STANDARD} is what cores and memory_gib say; give that size another name")
        return self

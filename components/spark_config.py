"""What a stack says about clusters for Spark: checked, and told when it cannot be."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig
from components.sign_in.rights import RightsConfig
from components.spark_networks import OpenNetwork
from components.spark_yarn import YarnConfig

ClusterName = Annotated[str, StringConstraints(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]
Title = Annotated[str, StringConstraints(pattern=r"^[^\n]{1,60}$")]
Setting = Annotated[str, StringConstraints(pattern=r"^spark\.[A-Za-z0-9_.-]+$")]
Value = Annotated[str, StringConstraints(pattern=r"^[^\n]+$", max_length=1000)]
_KEY = r"^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$"
_SECTIONS = {
    "standalone": "its workers, such as {workers: 2, cores: 4}",
    "yarn": "where it is, such as {core_site: {...}, yarn_site: {...}, networks: [10.1.0.0/24]}",
}
"""Fields that are for the kind of their name, and what they say."""
NONE = "none"
EXECUTOR_PORTS = (40200, 16)
"""The first, and how many: of executors that share a worker's address; the hub says the same."""
NEEDED = (
    "spark.clusters need homes on EOS and a software release of the stack's own, which executors have in common with "
    "their session; give eos.client and software.releases, or remove spark"
)


class StandaloneConfig(PartConfig):
    """The workers of a standalone cluster, and where they are."""

    workers: Annotated[int, Field(ge=1, le=200, description="How many workers")] = 1
    cores: Annotated[int, Field(ge=1, le=256, description="Cores of each, for executors")] = 2
    memory_gib: Annotated[
        float,
        Field(ge=1, le=4096, description="GiB of memory of each, for executors; half a GiB more is kept for it"),
    ] = 4
    machines: Annotated[
        str | None,
        Field(
            pattern=_KEY,
            description="A key such as example.org/spark: workers are on machines that have it as a label, and a taint "
            "of that key keeps others off these; none: on machines of sessions",
        ),
    ] = None
    disk_gib: Annotated[
        float, Field(gt=0, le=4096, description="GiB of disk of each, above which it is started anew")
    ] = 20
    account: Annotated[
        str | None,
        Field(description="Of cygnet:auth: in whose name executors read and write /eos; none: they have nothing of it"),
    ] = None


def misfit(config: StandaloneConfig, *, cores: int, memory_gib: float) -> str | None:
    """Why no worker could have an executor of that size; None: one can.

    >>> misfit(StandaloneConfig(cores=2), cores=4, memory_gib=1)
    'executors.cores (4) is more than a worker has (standalone.cores is 2); raise that, or lower executors.cores'
    """
    for name, wanted, there in (("cores", cores, config.cores), ("memory_gib", memory_gib, config.memory_gib)):
        if wanted > there:
            return (
                f"executors.{name} ({wanted:g}) is more than a worker has (standalone.{name} is {there:g}); raise "
                f"that, or lower executors.{name}"
            )
    if (most := min(config.cores // cores, int(config.memory_gib // memory_gib))) > EXECUTOR_PORTS[1]:
        return (
            f"a worker has room for {most} executors, and ports for {EXECUTOR_PORTS[1]}; let standalone have more, "
            "smaller workers, or make executors larger"
        )
    return None


class ExecutorsConfig(PartConfig):
    """What a user may have of a cluster."""

    max: Annotated[int, Field(ge=1, le=1000, description="Executors of one user at the same time")] = 2
    cores: Annotated[int, Field(ge=1, le=64, description="Cores of an executor, and tasks that run in it at once")] = 1
    cores_guaranteed: Annotated[
        float | None, Field(gt=0, le=64, description="Cores kept for each executor; none: a tenth of cores")
    ] = None
    memory_gib: Annotated[
        float, Field(ge=1, le=1024, description="GiB of memory of an executor, with all that it runs; kept for it")
    ] = 2
    open_networks: Annotated[
        tuple[OpenNetwork, ...],
        Field(
            max_length=50,
            description="Where executors may go besides one another and their driver, such as the site's servers of "
            "data; of kinds kubernetes and standalone",
        ),
    ] = ()

    @model_validator(mode="after")
    def _guaranteed_within_limits(self) -> "ExecutorsConfig":
        if (self.cores_guaranteed or 0) > self.cores:
            raise ValueError(
                f"cores_guaranteed ({self.cores_guaranteed:g}) is more than cores ({self.cores}); raise that, or lower "
                "cores_guaranteed"
            )
        return self


class SparkClusterConfig(PartConfig):
    """A cluster for Spark, on the start page."""

    kind: Annotated[
        Literal["kubernetes", "standalone", "yarn"],
        Field(
            description="Where executors are. kubernetes: pods in this cluster, of each user apart; standalone: "
            "processes of workers that the stack runs, for a group whose members trust each other; yarn: containers of "
            "a YARN that is there already"
        ),
    ]
    title: Annotated[str, Field(min_length=1, max_length=60, description="What users read")] = "Spark on this service"
    description: Annotated[
        str, Field(max_length=200, description="Likewise, below the title; empty: what a user may have")
    ] = ""
    executors: ExecutorsConfig = Field(default_factory=ExecutorsConfig)
    standalone: Annotated[StandaloneConfig | None, Field(description="For kind standalone: its workers")] = None
    yarn: Annotated[YarnConfig | None, Field(description="For kind yarn: where it is")] = None
    history_days: Annotated[
        int | None,
        Field(ge=1, le=3650, description="How long homes keep what drivers did, for their history; none: not at all"),
    ] = None
    bundles: Annotated[
        dict[Title, dict[Setting, Value]],
        Field(description="Settings of Spark that users may add before they connect from JupyterLab, by title"),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "SparkClusterConfig":
        for section, example in _SECTIONS.items():
            if (there := getattr(self, section) is not None) and self.kind != section:
                raise ValueError(f"{section} is for kind {section} only; remove it, or set kind: {section}")
            if self.kind == section and not there:
                raise ValueError(f"kind {section} needs {section}: {example}")
        if self.kind != "kubernetes" and self.executors.cores_guaranteed:
            raise ValueError("executors.cores_guaranteed is for kind kubernetes only; remove it")
        if self.kind == "yarn" and self.executors.open_networks:
            raise ValueError(
                "executors.open_networks is for kinds kubernetes and standalone: where executors of a YARN may go, the "
                "site's own firewall says; remove it"
            )
        if self.yarn and self.yarn.history_server and self.history_days:
            raise ValueError(
                "history_days keeps in homes what drivers did, and yarn.history_server elsewhere; remove one of the two"
            )
        size = self.executors
        if self.standalone and (fault := misfit(self.standalone, cores=size.cores, memory_gib=size.memory_gib)):
            raise ValueError(fault)
        return self


class SparkConfig(PartConfig):
    """What a stack says about clusters for Spark, under `cygnet:spark`."""

    clusters: Annotated[
        dict[ClusterName, SparkClusterConfig],
        Field(description="What users may choose beside a session, by name; cygnet:auth.rights.features says for whom"),
    ] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _none_is_taken(self) -> "SparkConfig":
        if NONE in self.clusters:
            raise ValueError(f"clusters.{NONE} is the choice of no cluster; give that cluster another name")
        return self

    @property
    def standalone(self) -> dict[str, StandaloneConfig]:
        """The clusters that the stack runs, by name."""
        return {name: one.standalone for name, one in self.clusters.items() if one.standalone}

    @property
    def yarn(self) -> dict[str, YarnConfig]:
        """Those that others run, likewise."""
        return {name: one.yarn for name, one in self.clusters.items() if one.yarn}

    @property
    def open_networks(self) -> dict[str, tuple[OpenNetwork, ...]]:
        """Where executors may go besides, by the names of clusters that have some."""
        found = {name: one.executors.open_networks for name, one in self.clusters.items()}
        return {name: networks for name, networks in found.items() if networks}


def standalone_fault(config: SparkConfig, rights: RightsConfig, names: Sequence[str]) -> str | None:
    """What is wrong with clusters of kind standalone in a stack whose users have these names; None: nothing is.

    >>> config = SparkConfig.model_validate({"clusters": {"team": {"kind": "standalone", "standalone": {}}}})
    >>> standalone_fault(config, RightsConfig(), [])
    'spark.clusters.team is standalone, where users are not kept apart; say whose it is in auth.rights.features.team'
    """
    for name, cluster in config.standalone.items():
        if not rights.features.get(name):
            return (
                f"spark.clusters.{name} is standalone, where users are not kept apart; say whose it is in "
                f"auth.rights.features.{name}"
            )
        if cluster.account and cluster.account not in names:
            return (
                f"spark.clusters.{name}.standalone.account: the stack file names no {cluster.account}; add that to "
                "auth.accounts, or remove account, and executors read nothing of /eos"
            )
    return None

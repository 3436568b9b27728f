"""Clusters for Spark of a YARN that is there already: what a stack says of it, and what Kubernetes and clouds let pass.

YARN and its HDFS are run by others, on machines outside of the stack. What they start for a driver comes to it by ports
of the node on which its session is (images/hub/cygnet_hub/yarn.py), from YARN's networks and no other.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Network
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints, model_validator

from components.base import PartConfig

NODE_PORTS: Final = (30000, 32767)
"""First and last of those that Kubernetes gives to sessions; the hub says the same."""
DRIVERS: Final = 4
"""How many drivers a session may have there, each with two of these; likewise."""
_SECRET = re.compile(r"password|secret|access\.key", re.IGNORECASE)
_PRINCIPALS = ("dfs.namenode.kerberos.principal", "yarn.resourcemanager.principal")
"""By which clients know that it is the server that answers; without them they talk to none."""
_MANAGERS = ("yarn.resourcemanager.hostname", "yarn.resourcemanager.address", "yarn.resourcemanager.ha.rm-ids")

Property = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][\w.-]*$")]
Text = Annotated[str, StringConstraints(pattern=r"^[^\n]*$", max_length=4000)]
Properties = dict[Property, Text | bool | int | float]
Queue = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][\w.-]*$", max_length=200)]


class YarnConfig(PartConfig):
    """A YARN with HDFS that a site runs, as its clients see it."""

    core_site: Annotated[
        Properties,
        Field(description="Properties of Hadoop's core-site.xml for clients, such as fs.defaultFS: hdfs://analysis"),
    ]
    hdfs_site: Annotated[
        Properties, Field(description="Likewise, of hdfs-site.xml: name nodes of a name that stands for several")
    ] = Field(default_factory=dict)
    yarn_site: Annotated[
        Properties, Field(description="Likewise, of yarn-site.xml, such as yarn.resourcemanager.hostname")
    ]
    networks: Annotated[
        tuple[IPv4Network, ...],
        Field(
            min_length=1,
            description="Where the machines of YARN and HDFS are: sessions may go there, and their drivers are reached "
            "from there",
        ),
    ]
    queue: Annotated[Queue, Field(description="Of YARN's scheduler, which says what its users may have")] = "default"
    history_server: Annotated[
        str | None,
        Field(pattern=r"^(https?://)?[\w.-]+:\d{1,5}$", description="HOST:PORT of the site's history server for Spark"),
    ] = None
    history_folder: Annotated[
        str | None,
        Field(
            pattern=r"^hdfs://\S+$", description="Where that one looks, and drivers write, e.g. hdfs:///spark-history"
        ),
    ] = None
    without_kerberos: Annotated[
        bool,
        Field(
            description="Says that one knows: a Hadoop without Kerberos takes everybody for whom they say they are, so "
            "that whoever has such a cluster may be any of its users, its administrators too"
        ),
    ] = False

    @model_validator(mode="after")
    def _is_what_a_client_needs(self) -> "YarnConfig":
        if "fs.defaultFS" not in self.core_site:
            raise ValueError(
                "core_site has no fs.defaultFS, and drivers leave there what executors start with; give it, such as "
                "fs.defaultFS: hdfs://analysis"
            )
        if not [name for name in _MANAGERS if name in self.yarn_site]:
            raise ValueError(
                f"yarn_site names no resource manager, and drivers would look for it in their session; give "
                f"{_MANAGERS[0]}, or {_MANAGERS[2]} with what belongs to it"
            )
        for file, properties in self.hadoop.items():
            if secret := next((name for name in properties if _SECRET.search(name)), None):
                raise ValueError(
                    f"{file.replace('-', '_')} has {secret}, and users can read all of it; remove it: clients of "
                    "YARN and HDFS need no secret"
                )
        named = {name for properties in self.hadoop.values() for name in properties}
        if self.kerberos and (missing := [name for name in _PRINCIPALS if name not in named]):
            raise ValueError(
                f"it is a Hadoop with Kerberos, and nothing says {' nor '.join(missing)}, by which clients know its "
                "servers; take hdfs_site and yarn_site from the site's own files, such as "
                f"{missing[0]}: name/_HOST@EXAMPLE.ORG"
            )
        if (self.history_server is None) != (self.history_folder is None):
            raise ValueError("history_server reads history_folder; give both, or none of them")
        return self

    @property
    def hadoop(self) -> dict[str, dict[str, str]]:
        """Hadoop's files by name, without their ending, and their properties as Hadoop writes them."""
        files = {"core-site": self.core_site, "hdfs-site": self.hdfs_site, "yarn-site": self.yarn_site}
        return {file: {name: _text(value) for name, value in of.items()} for file, of in files.items()}

    @property
    def kerberos(self) -> bool:
        """Whether users have to show who they are."""
        return self.hadoop["core-site"].get("hadoop.security.authentication", "simple") == "kerberos"


def fault(
    config: YarnConfig,
    name: str,
    *,
    groups: Sequence[str],
    sign_in: str,
    own: Sequence[IPv4Network],
    machines: Sequence[IPv4Network],
) -> str | None:
    """What is wrong with such a cluster in a stack; None: nothing is.

    Args:
        config: The cluster.
        name: Its name.
        groups: Whose it is; none: everybody's.
        sign_in: `auth.kind`.
        own: Networks of the stack's pods and services.
        machines: Of its machines, as far as they are known.
    """
    here = f"spark.clusters.{name}.yarn"
    if config.kerberos and sign_in != "kerberos":
        return (
            f"{here} is a Hadoop with Kerberos, and sessions have no ticket, as auth.kind is {sign_in}; set auth.kind: "
            "kerberos, with the realm of that Hadoop"
        )
    if config.kerberos and config.without_kerberos:
        return f"{here}.without_kerberos is for a Hadoop that has none, and this one has; remove it"
    if not config.kerberos and not config.without_kerberos:
        return (
            f"{here} is a Hadoop without Kerberos (core_site has no hadoop.security.authentication: kerberos), which "
            "takes everybody for whom they say they are; if that is meant, set without_kerberos: true"
        )
    if not config.kerberos and not groups:
        return (
            f"{here} is a Hadoop without Kerberos, where every user may be any other; say whose it is in "
            f"auth.rights.features.{name}"
        )
    return _met(config, here, own, machines)


def _met(config: YarnConfig, here: str, own: Sequence[IPv4Network], machines: Sequence[IPv4Network]) -> str | None:
    for network in config.networks:
        met = [one for one in own if one.overlaps(network)] + [one for one in machines if one.subnet_of(network)]
        if met:
            return (
                f"{here}.networks has {network}, and the stack itself is there ({met[0]}); name YARN's and HDFS's "
                "machines only"
            )
    return None


def choice(config: YarnConfig) -> dict[str, Any]:
    """What the hub is told of such a cluster beyond what it is told of all."""
    return {
        "hadoop": config.hadoop,
        "networks": [str(network) for network in config.networks],
        "queue": config.queue,
        "history_server": config.history_server,
        "history_folder": config.history_folder,
    }


def _text(value: object) -> str:
    """A value as Hadoop writes it.

    >>> _text(True), _text(3), _text("a")
    ('true', '3', 'a')
    """
    return str(value).lower() if isinstance(value, bool) else str(value)

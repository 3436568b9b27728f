"""A session that has a YARN: a notebook server with what the hub tells of one, and the machine of that session.

Executors come to the driver by ports of the machine, as by a Service of Kubernetes'.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cygnet_hub import clusters, yarn

from components import spark_yarn
from tests.live.ports import HOST, listens
from tests.machines import hadoop, spark_lab
from tests.machines.spark_lab import settings_file

NODE = "127.0.0.9"
"""The machine of the session."""
_NETWORK = "127.0.0.0/8"


@dataclass(frozen=True)
class Session:
    """It: its address, the first of its ports, and to which of these somebody came."""

    url: str
    port: int
    came: list[int]


@contextmanager
def session(
    folder: Path, site: hadoop.Hadoop, user: str = "user", environment: Mapping[str, str] | None = None
) -> Iterator[Session]:
    """One of `user` with that Hadoop.

    Args:
        folder: Of its notebook server alone.
        site: The Hadoop.
        user: Whose it is.
        environment: Further variables that the hub gives it.
    """
    port = next(
        first
        for first in yarn.free(())
        if not any(listens(one, host) for one in range(first, first + yarn.PORTS) for host in (NODE, HOST))
    )
    with (
        hadoop.node(NODE, range(port, port + yarn.PORTS)) as came,
        spark_lab.lab(folder, told(site, port, user), NODE, user=user, environment=environment) as url,
    ):
        yield Session(url, port, came)


def told(site: hadoop.Hadoop, port: int, user: str) -> dict[str, str]:
    """What the hub tells a session of such a cluster, by names of files: what a stack file says of it, and no more."""
    stack = spark_yarn.YarnConfig.model_validate(
        {**site.clients, "networks": [_NETWORK], "queue": "lab", "without_kerberos": not site.realm}
    )
    sign_in = "kerberos" if site.realm else "accounts"
    assert not spark_yarn.fault(stack, "lab", groups=["lab"], sign_in=sign_in, own=(), machines=())
    cluster = clusters.YarnCluster.model_validate(
        {"name": "lab", "title": "Lab", "kind": "yarn", "max": 2, "cores": 1, "memory_gib": 2}
        | spark_yarn.choice(stack)
    )  # fmt: skip
    owner = clusters.Owner(
        slug=user, place=f"spark-{user}-1", sessions="sessions", uid=1000, gid=100, image="i", home="", user=user
    )
    ((_, (_, secret)),) = yarn.made(cluster, owner, port)
    files: dict[str, str] = secret["stringData"]
    files["spark-defaults.conf"] += settings_file({"spark.driver.memory": "512m", "spark.yarn.am.memory": "384m"})
    return files

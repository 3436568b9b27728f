"""PostgreSQL as a container beside the one program that uses it: on the pod's loopback, and without a password.

Whoever comes by loopback is in the same pod. Nothing has to be made, kept or rotated, and no network policy written.
"""

from typing import Any, Final

from components.kubernetes import SCRATCH, container

FOLDER: Final = "/var/lib/postgresql"
"""Where its volume is, which is its own."""


def container_of(image: str, database: str, *, data: str, memory_mib: int = 512) -> dict[str, Any]:
    """The container.

    Args:
        image: Of images/postgresql.
        database: Its name, and that of its one user.
        data: The volume that it keeps it on. It also wants one of the name "scratch".
        memory_mib: What it may use.
    """
    return container(
        "postgresql",
        image,
        args=[database],
        mounts={data: FOLDER, "scratch": SCRATCH},
        requests={"cpu": "20m", "memory": "64Mi"},
        limits={"memory": f"{memory_mib}Mi"},
        ready={"exec": {"command": ["pg_isready", "--host=127.0.0.1", "--quiet"]}, "periodSeconds": 2},
    )


def first(database: dict[str, Any]) -> dict[str, Any]:
    """The same container, for a program that ends where its database does not answer at once.

    Kubernetes starts the pod's others when this one answers, and ends it after them.
    """
    probe = {**database["readinessProbe"], "periodSeconds": 1, "failureThreshold": 300}
    return {**database, "restartPolicy": "Always", "startupProbe": probe}

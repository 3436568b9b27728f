"""PostgreSQL as a container beside the one program that uses it: on the pod's loopback, and without a password.

Whoever comes by loopback is in the same pod. Nothing has to be made, kept or rotated, and no network policy written.
"""

from typing import Any, Final

from components.kubernetes import NO_OTHER, SCRATCH, container

FOLDER: Final = "/var/lib/postgresql"
"""Where its volume is, which is its own."""


def container_of(image: str, database: str, *, data: str, memory_mib: int = 512) -> dict[str, Any]:
    """The container; it belongs among a pod's first ones, and goes on beside the others.

    Kubernetes starts the pod's others when this one answers, and ends it after them: they would end where their
    database does not answer at once.

    Args:
        image: Of images/postgresql.
        database: Its name, and that of its one user.
        data: The volume that it keeps it on. It also wants one of the name "scratch".
        memory_mib: What it may use.
    """
    answers = {"exec": {"command": ["pg_isready", "--host=127.0.0.1", "--quiet"]}}
    made = container(
        "postgresql",
        image,
        args=[database],
        mounts={data: FOLDER, "scratch": SCRATCH},
        requests={"cpu": "20m", "memory": "64Mi"},
        limits={"memory": f"{memory_mib}Mi"},
        ready={**answers, "periodSeconds": 2, **NO_OTHER},
    )
    return {**made, "restartPolicy": "Always", "startupProbe": {**answers, "periodSeconds": 1, "failureThreshold": 300}}

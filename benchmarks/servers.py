"""A hundred servers of the test cloud, which are only said to be there: made, looked at again and removed by a stack.

Beside it the same resources by OpenTofu; and the same servers by OpenStack's own Python library, without a state: what
the cloud itself needs for them. All do as much at once. And a preview of three hundred resources.
"""

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from openstack.connection import Connection

from benchmarks.tofu import Tofu
from components.clouds import cloud_resources
from components.errors import CygnetError
from operations.cloud_state import cloud_of
from operations.stack import pulumi_program
from tests.testcloud import names
from tests.testcloud.project import Project

STACK: Final = "test-servers"
_SERVERS: Final = 100
_PREVIEWED: Final = 300
_BESIDE: Final = 16
"""Resources of the project that are no servers."""
_AT_ONCE: Final = 16
_UP: Final = ("up", "--yes", "--skip-preview", f"--parallel={_AT_ONCE}")
_DESTROY: Final = ("destroy", "--yes", "--skip-preview", f"--parallel={_AT_ONCE}")
_APPLY: Final = ("apply", "-auto-approve", f"-parallelism={_AT_ONCE}")


def servers(repetitions: int) -> Mapping[str, float]:
    """Medians of the seconds of each step by the stack, by OpenTofu and by the library, and ratios of these.

    Raises:
        CygnetError: The test cloud is not up, a command failed, or the stack and OpenTofu made different things.
        EngineError: OpenTofu cannot be had.
    """
    took: dict[str, list[float]] = {}
    with _project(["fake"] * _SERVERS) as (project, cloud), tempfile.TemporaryDirectory() as folder:
        tofu = Tofu(Path(folder), STACK, project.machines)
        steps: dict[str, Callable[[], object]] = {
            "stack_up": lambda: project.pulumi(*_UP, capture=True),
            "stack_unchanged": lambda: project.pulumi(*_UP, capture=True),
            "stack_refreshed": lambda: project.pulumi(*_UP, "--refresh", capture=True),
            "stack_destroy": lambda: project.pulumi(*_DESTROY, capture=True),
            "tofu_up": lambda: tofu.run(*_APPLY),
            "tofu_unchanged": lambda: tofu.run(*_APPLY, "-refresh=false"),
            "tofu_refreshed": lambda: tofu.run(*_APPLY),
            "tofu_destroy": lambda: tofu.run("destroy", *_APPLY[1:]),
            "library_up": lambda: _make(cloud),
            "library_destroy": lambda: _remove(cloud),
        }
        for number in range(1, repetitions + 1):
            made = []
            for name, step in steps.items():
                if name == "stack_destroy":
                    project.pulumi("state", "unprotect", "--all", "--yes", capture=True)
                seconds, cpu_seconds = _stopwatch(step)
                took.setdefault(f"{name}_seconds", []).append(seconds)
                took.setdefault(f"{name}_cpu_seconds", []).append(cpu_seconds)
                print(f"{number}: {name} {seconds:.1f} s, of CPU {cpu_seconds:.1f} s", flush=True)
                if name in ("stack_up", "tofu_up"):
                    made.append(Counter(one.kind for one in cloud_resources.resources(cloud, STACK)))
            if made[0] != made[1] or made[0]["server"] != _SERVERS:
                raise CygnetError(f"the stack made {dict(made[0])}, and OpenTofu {dict(made[1])}")
    medians = {name: round(statistics.median(listed), 1) for name, listed in took.items()}
    ratios = {
        f"{step}_stack_to_{other}": round(
            statistics.median(took[f"stack_{step}_seconds"]) / statistics.median(took[f"{other}_{step}_seconds"]), 2
        )
        for other, compared in (("tofu", ("up", "unchanged", "refreshed", "destroy")), ("library", ("up", "destroy")))
        for step in compared
    }
    return {**medians, **ratios}


def _stopwatch(step: Callable[[], object]) -> tuple[float, float]:
    """Wall seconds of a step, and CPU seconds of what it started; those of the cloud are not among them."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    step()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return time.monotonic() - began, cpu


def preview(repetitions: int) -> Mapping[str, float]:
    """Seconds of a preview of three hundred resources that are to be made, and MiB of its largest process.

    Raises:
        CygnetError: The test cloud is not up, or Pulumi failed.
    """
    took = []
    with _project(["fake"] * (_PREVIEWED - _BESIDE)) as (project, _cloud):
        for _ in range(repetitions):
            began = time.monotonic()
            said = project.pulumi("preview", capture=True)
            took.append(time.monotonic() - began)
    (line,) = [line for line in said.splitlines() if line.strip().startswith("+") and "to create" in line]
    return {
        "resources": int(line.split()[1]),
        "seconds_median": round(statistics.median(took), 1),
        "largest_process_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10,
    }


@contextmanager
def _project(flavors: list[str]) -> Iterator[tuple[Project, Connection]]:
    if not names.CLOUDS.exists():
        raise CygnetError("the test cloud is not up; bring it up: python -m tests.testcloud up")
    with tempfile.TemporaryDirectory() as folder:
        project = Project(STACK, Path(folder), flavors=flavors)
        project.enter()
        cloud = cloud_of(project)
        if cloud is None:
            raise AssertionError("the project is one of a cloud")
        project.remove(cloud)
        subprocess.run([pulumi_program(), "stack", "init", STACK], cwd=folder, env=os.environ, check=True)
        try:
            yield project, cloud
        finally:
            project.remove(cloud)


def _make(cloud: Connection) -> None:
    """The servers of the project, on a network that is there; returns when all are active."""
    image = cloud.image.find_image("debian-12", ignore_missing=False).id
    flavor = cloud.compute.find_flavor("fake", ignore_missing=False).id
    network = cloud.network.find_network("prov", ignore_missing=False).id

    def one(number: int) -> Any:
        asked = cloud.compute.create_server(
            name=f"cygnet-{STACK}-worker-{number}",
            image_id=image,
            flavor_id=flavor,
            networks=[{"uuid": network}],
            metadata={"cygnet_stack": STACK},
        )
        return cloud.compute.wait_for_server(asked, interval=1, wait=600)

    with ThreadPoolExecutor(_AT_ONCE) as together:
        list(together.map(one, range(1, _SERVERS + 1)))


def _remove(cloud: Connection) -> None:
    def one(server: Any) -> None:
        cloud.compute.delete_server(server)
        cloud.compute.wait_for_delete(server, interval=1, wait=600)

    with ThreadPoolExecutor(_AT_ONCE) as together:
        list(together.map(one, list(cloud.compute.servers(name=f"^cygnet-{STACK}-"))))

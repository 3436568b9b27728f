"""Random kills of Pulumi in the middle of `up`, of an update and of `destroy`, in the test cloud.

After each the next command of `cygnet` runs to its end, and the cloud is compared with the state.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from openstack.connection import Connection

from components.errors import CygnetError
from operations import down, up
from operations.cloud_state import cloud_of
from tests.testcloud import names
from tests.testcloud.project import Project

STACK: Final = "test-kills"
_UP: Final = ("up", "--yes", "--skip-preview")
_DESTROY: Final = ("destroy", "--yes", "--skip-preview", "--exclude-protected")
_LONGEST_SECONDS: Final = 30.0


def kills(repetitions: int) -> Mapping[str, float]:
    """How many kills there were, after how many of them cloud and state did not agree, and seconds of what came next.

    Raises:
        CygnetError: After a command that ran to its end cloud and state do not agree, or the test cloud is not up.
    """
    if not names.CLOUDS.exists():
        raise CygnetError("the test cloud is not up; bring it up: python -m tests.testcloud up")
    with tempfile.TemporaryDirectory() as folder:
        project = Project(STACK, Path(folder))
        project.enter()
        cloud = cloud_of(project)
        if cloud is None:
            raise AssertionError("the project is one of a cloud")
        project.remove(cloud)
        try:
            return _kills(project, cloud, repetitions)
        finally:
            project.remove(cloud)


def _kills(project: Project, cloud: Connection, repetitions: int) -> Mapping[str, float]:
    random_ = random.Random(repetitions)  # noqa: S311 - the same moments again
    took: list[float] = []
    killed = repaired = 0
    project.pulumi("stack", "init")
    while killed < repetitions:
        # One after the other: brought up, changed (one server more or less, all others made anew), removed.
        action = ("up", "update", "destroy")[killed % 3]
        if action == "update":
            project.configure(flavors=["fake"] * random_.randint(2, 5), user_data=f"#cloud-config\n# {killed}\n")
        after = random_.uniform(2, _LONGEST_SECONDS)
        deadline = time.monotonic() + after
        if not project.killed(partial(_past, deadline), *(_DESTROY if action == "destroy" else _UP)):
            print(f"{action} ended within {after:.1f} s; once more", flush=True)
            _next(project, "update")
            continue
        killed += 1
        apart = project.differences(cloud)
        repaired += bool(apart)
        began = time.monotonic()
        _next(project, action)
        took.append(time.monotonic() - began)
        if left := project.differences(cloud):
            raise CygnetError(f"{action}, killed after {after:.1f} s: " + "; ".join(left))
        print(f"kill {killed}: {action} after {after:.1f} s, {len(apart)} differences, then none", flush=True)
    return {
        "kills": killed,
        "with_differences": repaired,
        "next_command_median_seconds": round(statistics.median(took), 1),
    }


def _past(deadline: float) -> bool:
    return time.monotonic() > deadline


def _next(project: Project, action: str) -> None:
    if action == "destroy":
        down.take_down(project, everything=False)
    else:
        up.bring_up(project)

"""What in this folder is no test, and what tests of clusters for Spark share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.kernel import Kernel
from tests.machines import spark_lab

collect_ignore = ["kernels_inside.py"]  # it needs packages that only the image of sessions has


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the module's notebook server."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture
def kernel(lab: str) -> Iterator[Kernel]:
    """Of the module's notebook server, `lab`, and no page knows of it; it ends with its driver."""
    with spark_lab.kernel(lab) as made:
        yield made

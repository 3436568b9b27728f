"""The benchmark's notebook in the session's image: its ways to read events end in the same histograms.

Executors are processes of Spark's own `local-cluster`; for numbers there are too few events.
"""

import math
from pathlib import Path

import pytest

from benchmarks.spark import measured
from tests.machines import spark_lab
from tests.machines.spark_lab import HOME, settings_file

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

TOLD = {
    "spark.master": "local-cluster[1,1,900]",
    "spark.executor.memory": "900m",
    "spark.driver.memory": "700m",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
}
# Workers of such a cluster work where Spark is, which nobody may write to.
A_SPARK_OF_ITS_OWN = """
import os, pathlib
there, here = pathlib.Path(os.environ["SPARK_HOME"]), pathlib.Path("/tmp/spark-home")
here.mkdir()
for one in there.iterdir():
    (here / one.name).symlink_to(one)
os.environ["SPARK_HOME"] = str(here)
"""


def test_all_ways_find_the_same(tmp_path: Path) -> None:
    told = {"spark-defaults.conf": settings_file(TOLD)}
    with spark_lab.lab(tmp_path, told) as url, spark_lab.kernel(url) as kernel:
        kernel.run(A_SPARK_OF_ITS_OWN)
        numbers = measured(kernel, f"{HOME}/benchmark", iterations=2, events=100_000, executors=(1,))
    ways = {f"{way}_1_executors" for way in ("parquet_anew", "parquet", "uproot", "rdataframe")} | {
        "rdataframe_1_threads"
    }
    assert {name.removesuffix("_median_seconds") for name in numbers if name.endswith("_median_seconds")} == ways
    assert all(math.isfinite(number) and number > 0 for number in numbers.values())

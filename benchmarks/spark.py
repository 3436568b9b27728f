"""Spark's executors: what it is worth that they keep what they have read, and what they cost beside threads.

Executors are of one core and 1.5 GiB each. What they do is an analysis of pairs of muons in the user's home on /eos,
whose cuts are others in each iteration (benchmarks/spark_analysis.py is the notebook):

- `parquet_anew`: by Spark alone, which reads the table in each iteration; the first one starts much, too;
- `parquet`: the same, and executors keep the table after the first iteration;
- `uproot`: from ROOT's file, read by uproot on executors, which keep arrays;
- `rdataframe`: from ROOT's file, by ROOT's own RDataFrame on executors, which keeps nothing; and beside it by threads
  of the session, without Spark.

All find the same histograms, or there are no numbers.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from components.errors import CygnetError
from tests.live import spark_executors
from tests.live.kernel import Kernel, KernelError
from tests.live.stack import LiveStack

EXECUTORS: Final = (1, 2, 4)
EVENTS: Final = 2_000_000
"""Some 95 MB in each format, which one executor can keep."""
SECONDS: Final = 1200
"""For all that is asked of executors of one number: far more than it takes."""
_NOTEBOOK: Final = Path(__file__).with_name("spark_analysis.py")
_FOLDER: Final = ".benchmark-spark"
# Where two formulas round differently, an event may stand in the next bin.
_ROUNDED: Final = 20


def spark(stack: LiveStack, repetitions: int) -> Mapping[str, float]:
    """Seconds of iterations with 1, 2 and 4 executors, and with as many threads; there are `repetitions` of each."""
    # Executors of a group have no user's home.
    if (cluster := spark_executors.cluster_of_kind(stack, "kubernetes")) is None:
        raise CygnetError(f"stack {stack.name} has no cluster for Spark of kind kubernetes: cygnet:spark.clusters")
    name = next(name for name in stack.accounts if name not in stack.admins)
    with spark_executors.session_with(stack, cluster, name) as visitor:
        folder = visitor.run(f"import os; print(os.environ['HOME'] + '/{_FOLDER}')").strip()
        try:
            return measured(visitor.kernel(), folder, iterations=repetitions)
        finally:
            visitor.run(f"import shutil; shutil.rmtree({folder!r}, ignore_errors=True)")


def measured(
    kernel: Kernel, folder: str, *, iterations: int, events: int = EVENTS, executors: Sequence[int] = EXECUTORS
) -> dict[str, float]:
    """All numbers, of a kernel that may start a driver.

    Args:
        kernel: Of a session with a cluster whose executors see the same folders.
        folder: Is made anew, and left behind.
        iterations: How many, of which the first one reads what the others find in memory; at least two.
        events: How many.
        executors: How many, one number after the other. A number that does not come is told, and left out.

    Raises:
        CygnetError: What was found differs, or there are too few iterations.
        KernelError: The notebook failed.
    """
    if iterations < 2:
        raise CygnetError("the first iteration is compared with those after it; give --repetitions 2 or more")
    kernel.run(_NOTEBOOK.read_text(encoding="utf-8"), seconds=120)
    took, sizes = _told(kernel, f"write({folder!r}, {events})")
    numbers = {"cores_of_machine": float(kernel.run("print(os.cpu_count())"))}
    numbers |= {f"{name}_seconds": round(seconds, 1) for name, seconds in took.items()}
    numbers |= {f"{name}_megabytes": round(size / 1e6) for name, size in sizes.items()}
    histograms: list[list[int]] = []
    for count in executors:
        threads = f"{count}_threads"
        try:
            found = _told(kernel, f"on_executors({count}, {folder!r}, {iterations})")
        except KernelError as error:
            if "executors came within" not in str(error):
                raise
            print(f"left out: {str(error).splitlines()[-1]}", file=sys.stderr, flush=True)
            continue
        found = {f"{way}_{count}_executors": one for way, one in found.items()}
        found[f"rdataframe_{threads}"] = _told(kernel, f"on_threads({count}, {folder!r}, {iterations})")
        numbers[f"rdataframe_{threads}_there"] = found[f"rdataframe_{threads}"]["threads"]
        histograms = histograms or found[f"rdataframe_{threads}"]["found"]
        for name, one in found.items():
            _same(name, one["found"], histograms)
            numbers |= _summary(name, one["seconds"])
            print(f"{name}: {[round(seconds, 2) for seconds in one['seconds']]}", file=sys.stderr, flush=True)
        anew, kept = (numbers[f"{way}_{count}_executors_median_seconds"] for way in ("parquet_anew", "parquet"))
        numbers[f"parquet_{count}_executors_anew_to_kept"] = round(anew / kept, 2)
        alone = numbers[f"rdataframe_{threads}_median_seconds"]
        for name in found:
            if name != f"rdataframe_{threads}":
                numbers[f"{name}_to_threads"] = round(numbers[f"{name}_median_seconds"] / alone, 2)
    return numbers


def _told(kernel: Kernel, call: str) -> Any:
    """What a function of the notebook gives."""
    printed = kernel.run(f"tell({call})", seconds=SECONDS)
    (line,) = (line for line in printed.splitlines() if line.startswith("told: "))
    return json.loads(line.removeprefix("told: "))


def _summary(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """The first one, the median of the others, and how many times the first one is that.

    >>> _summary("a", [4.0, 1.0, 2.0, 3.0])
    {'a_first_seconds': 4.0, 'a_median_seconds': 2.0, 'a_first_to_median': 2.0}
    """
    median = statistics.median(seconds[1:])
    return {
        f"{name}_first_seconds": round(seconds[0], 3),
        f"{name}_median_seconds": round(median, 3),
        f"{name}_first_to_median": round(seconds[0] / median, 2),
    }


def _same(name: str, found: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> None:
    """Refuses histograms that are not the same, or empty ones.

    Raises:
        CygnetError: They are.

    >>> _same("a", [[100, 99]], [[99, 100]])
    >>> _same("a", [[100, 150]], [[100, 100]])
    Traceback (most recent call last):
    components.errors.CygnetError: a: iteration 1 found 250 pairs, RDataFrame alone 200
    """
    for number, (mine, other) in enumerate(zip(found, wanted, strict=True), start=1):
        differences = sum(abs(one - another) for one, another in zip(mine, other, strict=True))
        if differences > _ROUNDED or not sum(mine):
            raise CygnetError(f"{name}: iteration {number} found {sum(mine)} pairs, RDataFrame alone {sum(other)}")

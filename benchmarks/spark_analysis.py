"""What `benchmarks.spark` runs in a notebook, whose kernel is given this file's text: pairs of muons, and their masses.

Events follow from their number by formulas that are C++, SQL and Python at once. So ROOT and Spark make the same ones,
each in its own format, whoever makes which; and all ways of reading them have to end in the same histogram.
"""

import json
import os
import pathlib
import shutil
import time
from itertools import pairwise

import numpy as np
import ROOT
import uproot
from pyspark.sql import SparkSession
from pyspark.sql import functions as f

# Numbers between 0 and 1, by a number of events; the factors have nothing in common.
UNIFORM = {
    f"u{number}": f"((entry + 1) * {factor} % 2147483647 + 1) / 2147483649e0"
    for number, factor in enumerate((1103515245, 742938285, 950706376, 1226874159, 62089911, 1343714438))
}
# The second muon's momentum is what the pair's mass, a peak of 91 GeV or a background that falls, asks of it; where
# both have one direction, none would do.
EVENT = {
    "pt1": "15e0 - 25e0 * log(u0)",
    "eta1": "5e0 * u1 - 2.5e0",
    "phi1": "6.283185307179586e0 * u2 - 3.141592653589793e0",
    "eta2": "5e0 * u3 - 2.5e0",
    "phi2": "6.283185307179586e0 * u4 - 3.141592653589793e0",
    "wanted": "(entry % 2) * (88e0 + 6e0 * u5) + (1 - entry % 2) * (50e0 - 30e0 * log(u5))",
    "pt2": "wanted * wanted / (2e0 * pt1 * (cosh(eta1 - eta2) - cos(phi1 - phi2) + 1e-9))",
}
COLUMNS = ("pt1", "eta1", "phi1", "pt2", "eta2", "phi2")
MASS = "sqrt(2e0 * pt1 * pt2 * (cosh(eta1 - eta2) - cos(phi1 - phi2)))"
BINS, LOW, HIGH = 60, 60, 120
PARTS = 8
# Of entries in a file that are compressed together, and so read together.
CLUSTER = 50_000


def cuts(number):
    """The conditions of an iteration."""
    least = f"{14 + number}e0"
    return f"pt1 > {least}", f"pt2 > {least}", "eta1 * eta1 < 5.76e0", "eta2 * eta2 < 5.76e0"


def root_file(folder):
    """Of these events."""
    return f"{folder}/events.root"


def parquet(folder):
    """Of these events, for Spark, which takes a path without a scheme for one of its cluster's."""
    return f"file://{folder}/events.parquet"


def write(folder, events):
    """Makes both, where they are not there yet: ROOT's by this program, Parquet by executors."""
    shutil.rmtree(folder, ignore_errors=True)
    pathlib.Path(folder).mkdir(parents=True)
    began = time.perf_counter()
    frame = ROOT.RDataFrame(events).Define("entry", "static_cast<long>(rdfentry_)")
    for name, formula in (UNIFORM | EVENT).items():
        frame = frame.Define(name, formula)
    options = ROOT.RDF.RSnapshotOptions()
    options.fAutoFlush = CLUSTER
    frame.Snapshot("events", root_file(folder), list(COLUMNS), options)
    took = {"write_root": time.perf_counter() - began}
    began = time.perf_counter()
    rows = driver(1).range(0, events, 1, PARTS).withColumnRenamed("id", "entry")
    for name, formula in (UNIFORM | EVENT).items():
        rows = rows.withColumn(name, f.expr(formula))
    rows.select(*COLUMNS).write.parquet(parquet(folder))
    took["write_parquet"] = time.perf_counter() - began
    sizes = {"root": os.path.getsize(root_file(folder))}
    sizes["parquet"] = sum(file.stat().st_size for file in pathlib.Path(folder, "events.parquet").glob("*.parquet"))
    return took, sizes


def driver(executors):
    """A driver with so many executors of one core each, which are there; the former one has ended."""
    if former := SparkSession.getActiveSession():
        former.stop()
    settings = {
        "spark.dynamicAllocation.enabled": "false",
        "spark.executor.cores": 1,
        # 1.5 GiB, of which Java has less than usual: beside it there is Python, with ROOT and its interpreter.
        "spark.executor.memory": "704m",
        "spark.executor.memoryOverhead": "832m",
        "spark.executor.instances": executors,
        "spark.cores.max": executors,  # what instances are to a standalone cluster
        "spark.default.parallelism": PARTS,
        "spark.sql.shuffle.partitions": executors,
    }
    builder = SparkSession.builder.appName("benchmark")
    for name, value in settings.items():
        builder = builder.config(name, value)
    made = builder.getOrCreate()
    java = made.sparkContext._jsc.sc()
    deadline = time.monotonic() + 150
    while (came := java.getExecutorMemoryStatus().size() - 1) < executors:
        if time.monotonic() > deadline:
            made.stop()
            raise RuntimeError(f"{came} of {executors} executors came within 150 s: no machine has room for more")
        time.sleep(0.5)
    return made


def by_parquet_anew(session, folder):
    """Spark's own way, without Python on executors, which read all of it each time."""
    return _by_parquet(session.read.parquet(parquet(folder)).withColumn("mass", f.expr(MASS)))


def by_parquet(session, folder):
    """The same, and executors keep what they have read."""
    return _by_parquet(session.read.parquet(parquet(folder)).withColumn("mass", f.expr(MASS)).cache())


def _by_parquet(rows):

    def histogram(number):
        chosen = rows.where(f"mass >= {LOW} and mass < {HIGH}")
        for condition in cuts(number):
            chosen = chosen.where(condition)
        found = chosen.groupBy(f.floor((f.col("mass") - LOW) / ((HIGH - LOW) / BINS)).alias("bin")).count().collect()
        return [{row["bin"]: row["count"] for row in found}.get(one, 0) for one in range(BINS)]

    return histogram


def by_uproot(session, folder):
    """ROOT's file, read by uproot on executors, and kept there as arrays."""
    file, size = root_file(folder), uproot.open(root_file(folder))["events"].num_entries
    borders = [size * part // PARTS for part in range(PARTS + 1)]

    def read(borders):
        with uproot.open(file) as opened:
            arrays = opened["events"].arrays(list(COLUMNS), entry_start=borders[0], entry_stop=borders[1], library="np")
        return {**arrays, "mass": eval(MASS, dict(vars(np)), arrays)}  # noqa: S307 - the formula above

    parts = session.sparkContext.parallelize(list(pairwise(borders)), PARTS).map(read).cache()

    def histogram(number):
        conditions = cuts(number)

        def count(arrays):
            names = dict(vars(np))
            chosen = np.logical_and.reduce([eval(one, names, arrays) for one in conditions])  # noqa: S307 - likewise
            return np.histogram(arrays["mass"][chosen], bins=BINS, range=(LOW, HIGH))[0]

        return parts.map(count).reduce(np.add).tolist()

    return histogram


def by_rdataframe(session, folder):
    """ROOT's file, by RDataFrame: where there is a session of Spark on its executors, else here; it keeps nothing."""

    def histogram(number):
        if session:
            executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1
            distributed = ROOT.RDF.Distributed.Spark.RDataFrame
            # A part for each executor, and two for one: with one there is nothing that could be merged.
            parts = max(2, executors)
            frame = distributed("events", root_file(folder), executor=session.sparkContext, npartitions=parts)
        else:
            frame = ROOT.RDataFrame("events", root_file(folder))
        for condition in cuts(number):
            frame = frame.Filter(condition)
        drawn = frame.Define("mass", MASS).Histo1D(("mass", "", BINS, LOW, HIGH), "mass").GetValue()
        return [int(drawn.GetBinContent(one)) for one in range(1, BINS + 1)]

    return histogram


def repeated(histogram, iterations):
    """The seconds of each iteration, and what they found."""
    took, found = [], []
    for number in range(1, iterations + 1):
        began = time.perf_counter()
        found.append(histogram(number))
        took.append(time.perf_counter() - began)
    return {"seconds": took, "found": found}


def on_executors(executors, folder, iterations):
    """Each way that asks executors, with so many of them."""
    session = driver(executors)
    ways = {"parquet_anew": by_parquet_anew, "parquet": by_parquet, "uproot": by_uproot, "rdataframe": by_rdataframe}
    told = {}
    for name, way in ways.items():
        told[name] = repeated(way(session, folder), iterations)
        session.catalog.clearCache()
        for kept in session.sparkContext._jsc.getPersistentRDDs().values():
            kept.unpersist()
    session.stop()
    return told


def on_threads(threads, folder, iterations):
    """RDataFrame alone, with so many threads of this kernel, or as many as ROOT takes of a session's cores."""
    ROOT.DisableImplicitMT()
    if threads > 1:
        ROOT.EnableImplicitMT(threads)
    return {**repeated(by_rdataframe(None, folder), iterations), "threads": max(1, ROOT.GetThreadPoolSize())}


def tell(what):
    """Prints it, in a line that is known by its beginning: Spark may say something, too."""
    print("told: " + json.dumps(what))

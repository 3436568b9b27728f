"""A site's own XRootD server at this computer, with a file that it gives to everybody, and code that reads it."""

import base64
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.kernel import Kernel
from tests.live.ports import HOST, listens
from tests.live.waiting import until

ENTRIES = 10_000
SUM = ENTRIES * (ENTRIES - 1) // 2
XROOTD = 1094  # the server refuses to run as root
# Several clusters of entries, so that several tasks have some.
_WRITE = f"""\
import base64, tempfile, ROOT
with tempfile.TemporaryDirectory() as folder:
    options = ROOT.RDF.RSnapshotOptions()
    options.fAutoFlush = {ENTRIES // 4}
    events = ROOT.RDataFrame({ENTRIES}).Define("x", "double(rdfentry_)")
    events.Snapshot("events", folder + "/events.root", ["x"], options)
    print(base64.b64encode(open(folder + "/events.root", "rb").read()).decode())
"""
READ = """\
import ROOT
events = ROOT.RDF.Distributed.Spark.RDataFrame("events", "{address}", executor=sc, npartitions=4)
count, total = events.Count(), events.Sum("x")
print(count.GetValue(), int(total.GetValue()))
"""
"""Reads it on executors, where `sc` is there: prints ENTRIES and SUM."""


@contextmanager
def served(kernel: Kernel, port: int, host: str = HOST) -> Iterator[str]:
    """The address of a file of events, which the server has from ROOT in this kernel.

    Args:
        kernel: Of any session with ROOT.
        port: TCP, at which the server answers on all addresses of this computer.
        host: Which one of them the address has.
    """
    events = base64.b64decode(kernel.run(_WRITE, seconds=200).split()[-1])
    folder = Path(tempfile.mkdtemp(prefix="cygnet-open-data-"))
    (folder / "srv/eos/opendata").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "srv/eos/opendata/events.root").write_bytes(events)
    (folder / "xrootd.cfg").write_text(f"""
        all.export /eos/opendata nolock r/o
        oss.localroot {folder}/srv
        xrd.port {port}
        xrd.network nodnr
        all.adminpath {folder}/run
        all.pidpath {folder}/run
    """)
    for file in (folder, *folder.rglob("*")):
        os.chown(file, XROOTD, XROOTD)
    argv = ["xrootd", "-I", "v4", "-c", str(folder / "xrootd.cfg"), "-n", "test", "-l", str(folder / "log")]
    silent = subprocess.DEVNULL
    try:
        with subprocess.Popen(
            argv, user=XROOTD, group=XROOTD, extra_groups=[], cwd=folder, stdout=silent, stderr=silent
        ) as process:
            try:
                until(lambda: listens(port, host) or process.poll() is not None, "XRootD answers", seconds=60)
                assert process.poll() is None, (folder / "test/log").read_text()
                yield f"root://{host}:{port}//eos/opendata/events.root"
            finally:
                process.kill()
    finally:
        shutil.rmtree(folder)

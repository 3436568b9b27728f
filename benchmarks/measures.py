"""What can be measured of a live stack. Each function gives its numbers by name, with the unit in the name."""

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.fifty_starts import fifty_starts
from benchmarks.spark import spark
from components.errors import CygnetError
from components.local_machines import cgroups
from components.local_machines.names import Label
from operations.stack import Stack
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session

Numbers = Mapping[str, float]

SEATS = 10
SIGN_INS = 50


def sign_in(stack: LiveStack, repetitions: int) -> Numbers:
    """From the click on the sign-in button, with no session running, until JupyterLab can be used in the browser."""
    name = _person(stack)
    took = []
    with tempfile.TemporaryDirectory() as home, browser(stack.ca_file, Path(home) / "home", stack.url) as opened:
        for _ in range(repetitions):
            Visitor(stack, name).stop()
            person = Person(opened, stack.url, name, stack.accounts[name])
            person.fill_in()
            began = time.monotonic()
            person.submit()
            person.choose()
            person.wait_for_lab()
            took.append(time.monotonic() - began)
            person.close()
    Visitor(stack, name).stop()
    return _summary(took)


def ten_starts(stack: LiveStack, repetitions: int) -> Numbers:
    """From ten users' sign-ins at the same moment until the last one's session answers."""
    names = [name for name in stack.accounts if name.startswith("seat-")][:SEATS]
    if len(names) < SEATS:
        raise CygnetError(f"stack {stack.name} has {len(names)} seats; set 'seats: {SEATS}' under cygnet:auth")
    took = []
    with ThreadPoolExecutor(SEATS) as pool:
        for _ in range(repetitions):
            seats = [Visitor(stack, name) for name in names]
            began = time.monotonic()
            list(pool.map(Visitor.start, seats))
            took.append(time.monotonic() - began)
            list(pool.map(Visitor.stop, seats))
    return _summary(took)


def fifty_sign_ins(stack: LiveStack, repetitions: int) -> Numbers:
    """Fifty people who sign in within one minute, one after the other or at once: how long each waited for the page."""
    names = [name for name in stack.accounts if name.startswith("seat-")][:SIGN_INS]
    if len(names) < SIGN_INS:
        raise CygnetError(f"stack {stack.name} has {len(names)} seats; set 'seats: {SIGN_INS}' under cygnet:auth")

    def come(number: int) -> float:
        time.sleep(number * 60 / SIGN_INS)
        began = time.monotonic()
        Visitor(stack, names[number]).sign_in().raise_for_status()
        return time.monotonic() - began

    with ThreadPoolExecutor(SIGN_INS) as pool:
        took = [seconds for _ in range(repetitions) for seconds in pool.map(come, range(SIGN_INS))]
    return _summary(took)


def memory(stack: LiveStack, _repetitions: int) -> Numbers:
    """What the processes of all local machines hold, without files that could be read again."""
    held = {name: _resident_mib(Label(stack.name, name)) for name in stack.machines}
    return {**{f"{name}_mib": mib for name, mib in held.items()}, "sum_mib": sum(held.values())}


def import_root(stack: LiveStack, repetitions: int) -> Numbers:
    """ROOT's import and first histogram in a session: from /cvmfs as yet unread, again, and from a copy on disk."""
    repository = stack.parts["software"]["repository"]
    name = _person(stack)
    took: dict[str, list[float]] = {"cold": [], "warm": [], "local": []}
    with session(stack, name) as visitor:
        pod = stack.session_pod(name)
        if pod is None:
            raise CygnetError(f"the session of {name} has ended")
        machine = stack.host(pod["spec"]["nodeName"])
        kernel = visitor.kernel()
        kernel.run(_COPY_VIEW, seconds=300)
        for _ in range(repetitions):
            machine.check_output(_FORGET, *[repository] * 4)
            for where, folder in {"cold": "$CYGNET_VIEW", "warm": "$CYGNET_VIEW", "local": _VIEW_ON_DISK}.items():
                if where == "local":
                    kernel.run(_IMPORT.replace("VIEW", folder))  # the copy as warm as the other
                took[where].append(float(kernel.run(_IMPORT.replace("VIEW", folder), seconds=120)))
        kernel.run(f"import shutil; shutil.rmtree('{_VIEW_ON_DISK}')", seconds=120)
    found = {where: statistics.median(seconds) for where, seconds in took.items()}
    return {
        **{f"{where}_median_seconds": round(seconds, 2) for where, seconds in found.items()},
        "warm_to_local": round(found["warm"] / found["local"], 2),
    }


_VIEW_ON_DISK = "/tmp/view"  # noqa: S108 - a session's own /tmp is on its machine's disk; its home is not
_COPY_VIEW = f"import os, shutil; shutil.copytree(os.environ['CYGNET_VIEW'], '{_VIEW_ON_DISK}')"
# Without what would start the client anew meanwhile, and what would read before the first import does.
_FORGET = """
set -e
systemctl stop cygnet-health
trap 'systemctl start cygnet-health' EXIT
systemctl stop swfs@%s
rm -rf /var/lib/cygnet-cvmfs/*
sync
echo 3 >/proc/sys/vm/drop_caches
systemctl start swfs@%s
systemctl stop swfs-warm@%s.timer swfs-warm@%s.service
"""
_IMPORT = """
import subprocess
# The import alone loads nothing.
work = "import ROOT; ROOT.TH1F('h', '', 1, 0, 1)"
code = f"import time; began = time.perf_counter(); {work}; print(time.perf_counter() - began)"
command = '. "VIEW/setup.sh" && exec python3 -W ignore -c "$0"'
shell = ["env", "-u", "PYTHONPATH", "bash", "-c", command, code]
print(subprocess.run(shell, capture_output=True, text=True, check=True).stdout)
"""


def files(stack: LiveStack, repetitions: int) -> Numbers:
    """In a home 1 GiB written and read, and 10,000 files made and listed; and the same GiB on the server's own disk."""
    name = _person(stack)
    server = stack.host(stack.group("control_plane")[0])
    took: dict[str, list[float]] = {}
    with session(stack, name) as visitor:
        kernel = visitor.kernel()
        for _ in range(repetitions):
            found = json.loads(kernel.run(f"import os\nfolder = os.environ['HOME']\n{_LARGE}{_SMALL}", seconds=600))
            raw = f"folder = '/srv/eos'\n{_LARGE}print(json.dumps(took))"
            disk = json.loads(server.check_output("python3 -c %s", raw))
            for key, value in {**found, **{f"disk_{key}": value for key, value in disk.items()}}.items():
                took.setdefault(key, []).append(value)
    medians = {key: statistics.median(values) for key, values in took.items()}
    return {
        **{f"{key}_mb_per_second": round(2**30 / 1e6 / medians[key]) for key in medians if "small" not in key},
        **{f"{key}_seconds": round(medians[key], 1) for key in medians if "small" in key},
        **{f"{key}_to_disk": round(medians[f"disk_{key}"] / medians[key], 2) for key in ("write", "read")},
    }


# Read from the server's disk, or its memory: neither side's copy of the file is thrown away.
_LARGE = """
import json, os, time
file, took, block = os.path.join(folder, ".benchmark"), {}, os.urandom(2**20)
began = time.perf_counter()
with open(file, "wb", buffering=0) as opened:
    for _ in range(1024):
        opened.write(block)
    os.fsync(opened.fileno())
took["write"] = time.perf_counter() - began
began = time.perf_counter()
with open(file, "rb", buffering=0) as opened:
    while opened.read(2**20):
        pass
took["read"] = time.perf_counter() - began
os.remove(file)
"""
_SMALL = """
import shutil
many = os.path.join(folder, ".benchmark-files")
os.mkdir(many)
began = time.perf_counter()
for number in range(10_000):
    with open(f"{many}/{number}", "w") as opened:
        opened.write("small")
took["small_files_create"] = time.perf_counter() - began
began = time.perf_counter()
assert sum(entry.stat().st_size for entry in os.scandir(many)) == 50_000
took["small_files_list"] = time.perf_counter() - began
shutil.rmtree(many)
print(json.dumps(took))
"""


def second_up(stack: LiveStack, repetitions: int) -> Numbers:
    """A `pulumi up` that finds nothing to do."""
    took = []
    for _ in range(repetitions):
        began = time.monotonic()
        Stack(stack.name).pulumi("up", "--yes", "--skip-preview", "--expect-no-changes", capture=True)
        took.append(time.monotonic() - began)
    return _summary(took)


MEASURES: Mapping[str, Callable[[LiveStack, int], Numbers]] = {
    measure.__name__: measure
    for measure in (sign_in, ten_starts, fifty_sign_ins, fifty_starts, import_root, files, memory, second_up, spark)
}


def _person(stack: LiveStack) -> str:
    return next(name for name in stack.accounts if name not in stack.admins)


def _summary(seconds: Sequence[float]) -> Numbers:
    """The median, which one slow run does not change, and how far the others were from it.

    >>> _summary([3.0, 1.0, 2.0])
    {'median_seconds': 2.0, 'least_seconds': 1.0, 'most_seconds': 3.0}
    """
    return {
        "median_seconds": round(statistics.median(seconds), 2),
        "least_seconds": round(min(seconds), 2),
        "most_seconds": round(max(seconds), 2),
    }


def _resident_mib(label: Label) -> float:
    """The anonymous memory of a machine's processes; shared libraries and cached files are the host's."""
    kib = 0
    for process in cgroups.members(label):
        try:
            status = Path(f"/proc/{process}/status").read_text().splitlines()
        except FileNotFoundError:  # it ended just now
            continue
        kib += sum(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
    return round(kib / 1024)

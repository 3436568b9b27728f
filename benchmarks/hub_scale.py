"""How one hub carries thousands of sessions that are simulated: starts, a restart, memory and processor, size by size.

Hub, proxy, database, etcd and Kubernetes' API, scheduler and controllers are the real programs. Nodes, pods and what
is in sessions are simulated (`simulated_cluster`, `simulated_sessions`): a session is ready as soon as it has a node,
so what is measured is the hub and the API, and no pull of an image and no notebook server. No browser has a page open.

All of it runs in a network of its own that leads nowhere, in which all pods' addresses are this computer's.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

import images.build
from benchmarks.processes import Usage, usage
from benchmarks.real_hub import IMAGES, TOKEN, URL, RealHub, name_of
from benchmarks.simulated_cluster import POD_NETWORK, PODS_PER_NODE, SimulatedCluster
from components.errors import CygnetError
from engine import tools
from tests.machines import image_root
from tests.machines.kubernetes_api import ADMINISTRATOR

Numbers = Mapping[str, float]
SIZES: Final = (100, 300, 1000, 3000)
COMPARED: Final = 300
"""Sessions with either database, where these are compared."""
AT_ONCE: Final = 50
"""So many people wait for their sessions at any time: below the hub's own limit of a hundred starts at once."""
PATIENCE_SECONDS: Final = 300
_IDLE_SECONDS: Final = 60
_PAGE: Final = 200
_WATCHED: Final = ("hub", "kube-apiserver", "etcd", "proxy", "postgresql")
_NETWORK: Final = f"""\
ip link set lo up
ip route add local {POD_NETWORK} dev lo
exec "$@"
"""


def hub_scale(_repetitions: int) -> Numbers:
    """With PostgreSQL, once, at each of the sizes one after the other."""
    return _apart("postgresql", *SIZES)


def hub_databases(repetitions: int) -> Numbers:
    """With SQLite and with PostgreSQL, in turns; PostgreSQL's median to SQLite's."""
    found: dict[str, list[Numbers]] = {"sqlite": [], "postgresql": []}
    for _ in range(repetitions):
        for database, numbers in found.items():
            numbers.append(_apart(database, COMPARED))
    medians = {
        database: {name: statistics.median(one[name] for one in numbers) for name in numbers[0]}
        for database, numbers in found.items()
    }
    ratios = {
        f"postgresql_to_sqlite_{name}": round(medians["postgresql"][name] / value, 2)
        for name, value in medians["sqlite"].items()
        if value and name in medians["postgresql"]
    }
    return {**{f"{base}_{name}": value for base, all_ in medians.items() for name, value in all_.items()}, **ratios}


def _apart(database: str, *sizes: int) -> Numbers:
    """Measures in a network of its own."""
    for tool in ("kubernetes", "etcd", "kwok"):
        tools.get([tool])
    for name in IMAGES:
        images.build.ensure(name)
        image_root.root(name)
    inside = [sys.executable, "-m", "benchmarks.hub_scale", database, *map(str, sizes)]
    apart = ["unshare", "--net", "sh", "-euc", _NETWORK, "sh", *inside]
    with subprocess.Popen(apart, stdout=subprocess.PIPE, text=True) as measuring:
        numbers = {}
        for line in measuring.stdout or ():
            # Early: a measurement of an hour that is ended is not for nothing.
            print(line, end="", file=sys.stderr, flush=True)
            name, value = line.split()
            numbers[name] = float(value)
    if measuring.returncode:
        raise CygnetError("the measurement failed; what it said stands above")
    return numbers


@dataclass
class Started:
    """What became of some starts.

    Attributes:
        waited: Seconds until each was ready.
        failed: What each of the others was answered.
    """

    waited: list[float]
    failed: list[str]


class Load:
    """People who start sessions, `AT_ONCE` of them at any time."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and answer of the hub's API."""
        headers = {"Authorization": f"token {TOKEN}"}
        async with self._http.request(method, f"{URL}/api/{path}", headers=headers, **options) as answer:
            text = await answer.text()
            return answer.status, (await answer.json() if text and answer.content_type == "application/json" else text)

    async def make_users(self, numbers: Sequence[int]) -> None:
        """Makes users who have no session yet."""
        for first in range(0, len(numbers), 100):
            names = [name_of(number) for number in numbers[first : first + 100]]
            status, said = await self.ask("POST", "users", json={"usernames": names})
            if status != 201:
                raise CygnetError(f"no users were made: {status} {said}")

    async def start(self, numbers: Sequence[int]) -> Started:
        """Starts a session for each of these users."""
        waiting, done = iter(numbers), Started([], [])

        async def one_after_the_other() -> None:
            for number in waiting:
                began = time.monotonic()
                try:
                    trouble = await self._start(name_of(number))
                except (aiohttp.ClientError, TimeoutError) as error:
                    trouble = repr(error)
                if trouble:
                    done.failed.append(trouble)
                else:
                    done.waited.append(time.monotonic() - began)

        await asyncio.gather(*(one_after_the_other() for _ in range(AT_ONCE)))
        return done

    async def _start(self, name: str) -> str:
        """Returns when the session is ready, or what kept it from that."""
        status, said = await self.ask("POST", f"users/{name}/server")
        if status == 201:
            return ""
        if status != 202:
            return f"{status} {said}"
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(1)
            _, user = await self.ask("GET", f"users/{name}")
            server = user["servers"].get("")
            if server is None:
                return "it ended while it started"
            if server["ready"]:
                return ""
        return "it was not ready in time"

    async def ready(self) -> int:
        """How many sessions the hub knows as ready, up to the first page with one that is not."""
        count = 0
        while True:
            _, users = await self.ask("GET", "users", params={"state": "active", "offset": count, "limit": _PAGE})
            ready = sum(bool(user["servers"][""]["ready"]) for user in users)
            count += ready
            if ready < _PAGE:
                return count


class Measurement:
    """One hub, and how it carries more and more sessions."""

    def __init__(self, hub: RealHub, cluster: SimulatedCluster) -> None:
        self._hub, self._cluster = hub, cluster

    def _usage(self) -> dict[str, Usage]:
        known = {**self._cluster.processes, **self._hub.processes}
        return {name: usage(known[name]) for name in _WATCHED if name in known}

    async def at(self, size: int, before: int) -> dict[str, float]:
        """Starts what is missing at `size`, looks at it while it rests, and restarts the hub."""
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=PATIENCE_SECONDS)
        ) as http:
            load, numbers = Load(http), range(before, size)
            await load.make_users(numbers)
            earlier, began = self._usage(), time.monotonic()
            started = await load.start(numbers)
            took, busy = time.monotonic() - began, self._usage()
            if len(started.waited) < len(numbers) / 2:
                raise CygnetError(f"most starts failed, such as: {started.failed[:3]}")
            for trouble in sorted(set(started.failed))[:5]:
                print(f"failed: {trouble}", file=sys.stderr)
            resting = time.monotonic()
            await asyncio.sleep(_IDLE_SECONDS)
            rested, idle = time.monotonic() - resting, self._usage()
            restart = await self._restart(load, len(started.waited) + before)
        waits = statistics.quantiles(started.waited, n=100)
        return {
            "starts_per_second": len(started.waited) / took,
            "failed_percent": 100 * len(started.failed) / len(numbers),
            **{f"p{one}_seconds": waits[one - 1] for one in (50, 95, 99)},
            **{f"{name}_cpu_ms_per_start": 1000 * (busy[name].cpu_seconds - earlier[name].cpu_seconds) / len(numbers)
               for name in busy},
            **{f"{name}_idle_cpu_percent": 100 * (idle[name].cpu_seconds - busy[name].cpu_seconds) / rested
               for name in idle},
            **{f"{name}_mib": idle[name].mib for name in idle},
            **restart,
        }  # fmt: skip

    async def _restart(self, load: Load, sessions: int) -> dict[str, float]:
        """Seconds from the order to end until the hub answers, and until it knows all sessions."""
        began = time.monotonic()
        await asyncio.to_thread(self._hub.stop)
        ended = time.monotonic()
        await asyncio.to_thread(self._hub.start)
        answers = time.monotonic()
        while await load.ready() < sessions:
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise CygnetError(f"of {sessions} sessions the hub knows {await load.ready()} after a restart")
            await asyncio.sleep(0.2)
        known = time.monotonic()
        return {
            "hub_ends_seconds": ended - began,
            "hub_answers_again_seconds": answers - began,
            "hub_knows_all_again_seconds": known - began,
        }


def measure(database: str, sizes: Sequence[int]) -> Iterator[tuple[str, float]]:
    """All numbers, each as soon as it is there."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as started:
        folder = Path(name)
        folder.chmod(0o755)  # programs of images are other users
        cluster = SimulatedCluster(folder, -(-sizes[-1] // PODS_PER_NODE) + 1)
        started.enter_context(cluster.running())
        started.enter_context(_sessions(cluster, folder / "sessions.log"))
        hub = RealHub(folder, database, sizes[-1], cluster.hub_access())
        started.enter_context(hub.running())
        before = 0
        for size in sizes:
            for what, value in asyncio.run(Measurement(hub, cluster).at(size, before)).items():
                yield f"{size}_{what}", value
            before = size


@contextmanager
def _sessions(cluster: SimulatedCluster, log: Path) -> Iterator[None]:
    program = [sys.executable, "-m", "benchmarks.simulated_sessions", cluster.api.url, ADMINISTRATOR]
    with (
        log.open("wb") as output,
        subprocess.Popen([*program, f"{cluster.api.folder}/ca.crt"], stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.kill()


if __name__ == "__main__":
    for what, value in measure(sys.argv[1], [int(one) for one in sys.argv[2:]]):
        print(what, f"{value:.4g}", flush=True)

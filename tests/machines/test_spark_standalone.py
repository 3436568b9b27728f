"""A standalone cluster for Spark: its own master and workers, with what the stack tells them, and a notebook's driver.

All run in the session's image on this computer, as their pods do. What stands in for Kubernetes, which starts anew what
ends, is the test.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from cygnet_hub import clusters, drivers

from components import spark_standalone
from components.spark_config import StandaloneConfig
from tests.live import open_data
from tests.live.kernel import Kernel, KernelError
from tests.live.ports import free_ports
from tests.live.waiting import until
from tests.machines import image_root, spark_lab
from tests.machines.daemons import Daemons
from tests.machines.spark_lab import (
    CLUSTER,
    ENVIRONMENT,
    SPARK,
    USERS,
    ask,
    connected,
    executors,
    settings_file,
)

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

SECRET = "of all who are in the team"  # noqa: S105 - of this test alone
STATE = "/srv"
"""In which masters make their folder; the image has it."""
WORKER = StandaloneConfig(cores=1, memory_gib=1)
LOOK = """\
def look(_):
    import os, time
    import ROOT, sklearn
    time.sleep(1)
    return os.getuid(), os.environ["CYGNET_VIEW"], os.environ["CYGNET_SPARK"], os.environ.get("HOME")

import os
found = set(sc.parallelize(range({tasks}), {tasks}).map(look).collect())
print(found == {{(os.getuid(), os.environ["CYGNET_VIEW"], os.environ["CYGNET_SPARK"], "/tmp")}})
"""


class Standalone(Daemons):
    """A master and workers."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._ports = free_ports(3)
        self.master = f"spark://127.0.0.1:{self._ports[0]}"
        told = folder / "told"
        told.mkdir()
        settings = {**spark_standalone.daemon_settings(SECRET), "spark.worker.timeout": 10}
        (told / "daemon.conf").write_text(settings_file(settings))

    def program(self, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """`master`, or a worker: any other name."""
        number = ["master", "worker-1", "worker-2"].index(name)
        words = (
            spark_standalone.worker_arguments(WORKER, self.master) if number else spark_standalone.master_arguments()
        )
        # An address each, as pods have: executors of one address would look for each other's files on their own disk.
        address = f"127.0.0.{1 + number}"
        words += ["--port", str(self._ports[number]), "--webui-port", "0"]
        script = 'exec "$CYGNET_SPARK/start-daemon" "$@"'
        return image_root.running(
            "session",
            ["tini", "--", "sh", "-c", script, "sh", *words],
            data=self.folder / name.partition("-")[0],
            inside=STATE,
            log=self.log(name),
            environment={
                **ENVIRONMENT,
                "SPARK_LOCAL_IP": address,
                "CYGNET_SPARK": SPARK,
                "CYGNET_ADDRESS": address,
                "CYGNET_DAEMON": f"{CLUSTER}/daemon.conf",
            },
            beside={
                **spark_lab.software(),
                self.folder / "told": CLUSTER,
                spark_lab.known_user(self.folder): USERS,
            },
        )


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standalone]:
    """A cluster of two workers."""
    made = Standalone(tmp_path_factory.mktemp("daemons"))
    try:
        made.start("master", "worker-1", "worker-2")
        until(lambda: made.said("master", "Registering worker") >= 2, "both workers are there", seconds=300)
        yield made
    finally:
        made.close()


def told(master: str) -> dict[str, str]:
    """What the hub tells a session of such a cluster."""
    cluster = clusters.StandaloneCluster(
        name="team", title="Team", kind="standalone", max=2, cores=1, memory_gib=1, master=master
    )
    settings = {**drivers.defaults(cluster, _owner(), SECRET), "spark.driver.memory": "512m"}
    return {"spark-defaults.conf": settings_file(settings), "daemons": SPARK}


def _owner() -> Any:
    return clusters.Owner(
        slug="user", place="spark-user-1", sessions="sessions", uid=1000, gid=100, image="i", home="", user="user"
    )


@pytest.fixture(scope="module")
def lab(folder: Path, daemons: Standalone) -> Iterator[str]:
    """The address of a notebook server of a session that has this cluster."""
    with spark_lab.lab(folder, told(daemons.master)) as url:
        yield url


def looked(kernel: Kernel, tasks: int) -> bool:
    """Whether executors have what the driver has, seen by so many tasks. A slow computer warns before."""
    return kernel.run(LOOK.format(tasks=tasks), seconds=400).split()[-1] == "True"


def test_executors_have_the_drivers_software_and_nobodys_home(kernel: Kernel) -> None:
    application = connected(kernel)
    assert looked(kernel, 4)
    (variables,) = {Path(f"/proc/{one}/environ").read_text() for one in executors(application)[:1]}
    assert "SPARK_USER=user" in variables
    # The secret is in no list of processes.
    for one in executors(application):
        assert SECRET not in Path(f"/proc/{one}/cmdline").read_text()
    assert kernel.run("print(sc.getConf().get('spark.network.crypto.enabled'))").strip() == "true"


def test_executors_read_what_a_site_serves_by_xrootd(kernel: Kernel) -> None:
    application = connected(kernel)
    (port,) = free_ports(1)
    with open_data.served(kernel, port) as address:
        said = kernel.run(open_data.READ.format(address=address), seconds=300)
    assert said.split()[-2:] == [str(open_data.ENTRIES), str(open_data.SUM)]
    assert executors(application)


def test_a_pipeline_ends_in_the_model_that_it_ends_in_without_a_cluster(lab: str, kernel: Kernel) -> None:
    assert lab
    kernel.run(spark_lab.GIVE)
    spark_lab.assert_same_model(kernel, "standalone")


def test_a_master_that_is_started_anew_goes_on(kernel: Kernel, daemons: Standalone) -> None:
    application = connected(kernel)
    assert looked(kernel, 2)
    before = daemons.said("master", "Recovery complete")
    kernel.begin(LOOK.format(tasks=12))
    begun = time.monotonic()
    daemons.kill("master")
    daemons.start("master")
    until(lambda: daemons.said("master", "Recovery complete") > before, "the master is back", seconds=200)
    print(f"a master after {time.monotonic() - begun:.1f} s")
    assert kernel.run("print('done')", seconds=200).strip().endswith("done"), "a job did not wait for it"
    # What it knows of the driver: an executor that dies is replaced.
    for one in executors(application):
        os.kill(one, 9)
    assert looked(kernel, 4)


def test_a_worker_that_is_lost_costs_time_and_no_job(kernel: Kernel, daemons: Standalone) -> None:
    connected(kernel)
    assert looked(kernel, 2)
    kernel.begin(LOOK.format(tasks=16))
    time.sleep(4)
    daemons.kill("worker-1")
    assert looked(kernel, 2), "it waits for the job before it"
    daemons.start("worker-1")


@pytest.mark.parametrize("how", ["DELETE", "restart"])
def test_executors_go_with_their_kernel(lab: str, kernel: Kernel, how: str) -> None:
    application = connected(kernel)
    assert looked(kernel, 2)
    assert executors(application)
    (identity,) = (one["id"] for one in ask(lab, "GET", "api/kernels").json())
    if how == "DELETE":
        assert ask(lab, "DELETE", f"api/kernels/{identity}").ok
    else:
        assert ask(lab, "POST", f"api/kernels/{identity}/restart").ok
    begun = time.monotonic()
    until(lambda: not executors(application), "its executors are gone", seconds=60)
    print(f"none after {time.monotonic() - begun:.1f} s")


def test_whoever_has_another_secret_gets_nothing(kernel: Kernel, daemons: Standalone) -> None:
    before = daemons.said("master", "Registered app")
    with pytest.raises(KernelError, match="SparkContext"):
        connected(kernel, ".config('spark.authenticate.secret', 'a guess')")
    assert daemons.said("master", "Registered app") == before


def test_a_driver_of_another_spark_is_refused_and_told_why(kernel: Kernel, folder: Path) -> None:
    file = folder / "cluster/daemons"
    file.write_text("/cvmfs/test.example.org/stable")
    try:
        with pytest.raises(KernelError, match="JAVA_GATEWAY_EXITED"):
            connected(kernel)
    finally:
        file.write_text(SPARK)
    assert "Spark refused: the cluster's Spark was replaced" in (folder / "log").read_text() + kernel.run("print()")
    assert connected(kernel).startswith("app-")


def test_an_executor_that_is_refused_says_why_and_is_not_tried_at_once(kernel: Kernel, daemons: Standalone) -> None:
    gone = "/cvmfs/test.example.org/gone"
    before = daemons.said("worker-2", "Asked to launch executor")
    connected(kernel, f".config('spark.executorEnv.CYGNET_VIEW', '{gone}')")
    kernel.begin("sc.parallelize([1]).count()")
    until(lambda: daemons.said("worker-2", "Asked to launch executor") > before, "one is tried", seconds=200)
    time.sleep(10)
    assert daemons.said("worker-2", "Asked to launch executor") - before <= 2

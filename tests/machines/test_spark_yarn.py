"""A YARN with HDFS that is there already: a real small one, and a notebook's driver with what the hub tells it."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cygnet_hub import yarn

from tests.live.kernel import Kernel, KernelError
from tests.live.waiting import until
from tests.machines import spark_lab, yarn_lab
from tests.machines.hadoop import Hadoop
from tests.machines.spark_lab import SPARK, VIEW, ask, connected, executors
from tests.machines.yarn_lab import Session

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

# What executors have: the software of the driver, and no home.
LOOK = """\
def look(_):
    import os, time
    import ROOT, sklearn
    time.sleep(1)
    return os.environ["CYGNET_VIEW"], os.environ["CYGNET_SPARK"], os.environ["HOME"]

print(set(sc.parallelize(range({tasks}), {tasks}).map(look).collect()))
"""
STAGED = """\
of = sc._jvm.org.apache.hadoop
folder = of.fs.Path("/user/user/.sparkStaging/" + sc.applicationId)
print(of.fs.FileSystem.get(sc._jsc.hadoopConfiguration()).getContentSummary(folder).getLength())
"""
EVENTS = """\
path = sc._jvm.org.apache.hadoop.fs.Path("/user/user/events.txt")
file = path.getFileSystem(sc._jsc.hadoopConfiguration()).create(path)
file.write(b"".join(b"%d\\n" % n for n in range(100_000)))
file.close()
print("sum", sc.textFile("hdfs:///user/user/events.txt", 4).map(int).sum())
spark.range(1000).write.mode("overwrite").parquet("/user/user/numbers")
print("rows", spark.read.parquet("/user/user/numbers").count())
"""
WORK = """\
def work(n):
    import time
    time.sleep(2)
    return n

print("sum", sc.parallelize(range(40), 40).map(work).sum())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hadoop]:
    """The laboratory's."""
    made = Hadoop(tmp_path_factory.mktemp("hadoop"))
    try:
        made.ready()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def session(folder: Path, site: Hadoop) -> Iterator[Session]:
    """One that has this cluster."""
    with yarn_lab.session(folder, site) as made:
        assert made.came == []
        yield made


@pytest.fixture(scope="module")
def lab(session: Session) -> str:
    """The address of its notebook server."""
    return session.url


def test_executors_have_the_drivers_software_and_come_by_the_machines_ports(kernel: Kernel, session: Session) -> None:
    application = connected(kernel)
    assert application.startswith("application_")
    assert str({(VIEW, SPARK, "/home/")}) in kernel.run(LOOK.format(tasks=4), seconds=400)
    # YARN's own process and executors come to the driver, and executors to what it hands out.
    assert set(session.came) == {session.port, session.port + yarn.PORTS // 2}
    assert executors(application)
    for name in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert kernel.run(f"print(sc.getConf().get('{name}'))").strip() == "true"
    assert kernel.run("print(sc.getConf().get('spark.authenticate.secret'))").strip() == "None"
    # Settings, and no software.
    assert int(kernel.run(STAGED)) < 1_000_000


def test_a_second_driver_of_the_session_has_ports_of_its_own(kernel: Kernel, session: Session) -> None:
    connected(kernel)
    with spark_lab.kernel(session.url) as another:
        connected(another)
        assert another.run("print(sc.parallelize(range(10), 2).sum())", seconds=200).split()[-1] == "45"
    assert {session.port + 1, session.port + 1 + yarn.PORTS // 2} <= set(session.came)


def test_a_file_of_hdfs_is_read(kernel: Kernel) -> None:
    connected(kernel)
    said = kernel.run(EVENTS, seconds=300)
    assert f"sum {sum(range(100_000))}\n" in said
    assert "rows 1000\n" in said


def test_the_page_of_a_driver_is_the_sessions_to_show(lab: str, kernel: Kernel) -> None:
    connected(kernel)
    place = kernel.run("print(sc.uiWebUrl)").strip().rpartition(":")[2]
    kernel.run("sc.parallelize(range(4), 2).sum()", seconds=200)
    page = ask(lab, "GET", f"cygnet/spark/{place}/executors/")
    assert page.ok
    assert f"/cygnet/spark/{place}/jobs/" in page.text
    assert "/proxy/application_" not in page.text


def test_a_pipeline_ends_in_the_model_that_it_ends_in_without_a_cluster(kernel: Kernel) -> None:
    kernel.run(spark_lab.GIVE)
    spark_lab.assert_same_model(kernel, "yarn")


def test_a_resource_manager_that_is_started_anew_costs_no_job(kernel: Kernel, site: Hadoop) -> None:
    application = connected(kernel)
    assert kernel.run("print(sc.parallelize(range(4), 2).sum())", seconds=200).split()[-1] == "6"
    kernel.begin(WORK)
    time.sleep(4)
    begun = time.monotonic()
    site.kill("resourcemanager")
    time.sleep(5)
    site.start("resourcemanager")
    until(site.answers, "it is back", seconds=120)
    print(f"a resource manager after {time.monotonic() - begun:.1f} s")
    assert kernel.run("print('done')", seconds=300).strip().endswith("done"), "a job did not wait for it"
    until(lambda: f"{application}" in site.log("resourcemanager").read_text(), "it knows the application", seconds=60)
    # It is the same application, and has new executors when some are gone.
    assert kernel.run("print(sc.parallelize(range(10), 4).sum(), sc.applicationId)", seconds=300).split()[-2:] == [
        "45",
        application,
    ]


def test_executors_go_with_their_kernel(lab: str, kernel: Kernel) -> None:
    application = connected(kernel)
    kernel.run("sc.parallelize(range(4), 2).sum()", seconds=200)
    assert executors(application)
    (identity,) = (one["id"] for one in ask(lab, "GET", "api/kernels").json())
    assert ask(lab, "DELETE", f"api/kernels/{identity}").ok
    begun = time.monotonic()
    until(lambda: not executors(application), "its executors are gone", seconds=60)
    print(f"none after {time.monotonic() - begun:.1f} s")


def test_where_the_drivers_software_is_not_its_user_is_told(kernel: Kernel, folder: Path) -> None:
    gone = "/cvmfs/test.example.org/gone"
    with pytest.raises(KernelError):
        connected(kernel, f".config('spark.yarn.appMasterEnv.CYGNET_VIEW', '{gone}')")
    assert f"executor refused: {gone}, which the driver has, is not on the machine" in said(kernel, folder)


def said(kernel: Kernel, folder: Path) -> str:
    """What the session said until now, in its log and in the notebook."""
    found: Any = kernel.run("print()")
    return (folder / "log").read_text() + str(found)

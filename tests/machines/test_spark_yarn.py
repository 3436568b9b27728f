"""A YARN with HDFS that is there already: a real small one, and a notebook's driver with what the hub tells it.

Executors come to the driver by the ports of a machine that the session has, as by a Service of Kubernetes'.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cygnet_hub import clusters, yarn

from tests.live.kernel import Kernel, KernelError
from tests.live.ports import HOST, listens
from tests.live.waiting import until
from tests.machines import hadoop, image_root, spark_lab
from tests.machines.hadoop import Hadoop
from tests.machines.kdc import Kdc
from tests.machines.spark_lab import (
    CLUSTER,
    CONNECT,
    ENVIRONMENT,
    HOME,
    SPARK,
    USERS,
    VIEW,
    ask,
    executors,
    settings_file,
)

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

NODE = "127.0.0.9"
"""The machine of the session."""
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
WHO = """\
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").getOrCreate()
user = spark._jvm.org.apache.hadoop.security.UserGroupInformation.getLoginUser()
print("user", user.getUserName(), user.hasKerberosCredentials())
"""
# As a session starts, whose own address is one.
_ALONE = """\
. "$CYGNET_VIEW/setup.sh"; . "$CYGNET_SPARK/setup.sh"
echo spark.driver.bindAddress 127.0.0.1 >> /tmp/spark-conf/spark-defaults.conf
exec python3 -c "$0"
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
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the notebook server."""
    return tmp_path_factory.mktemp("lab")


@pytest.fixture(scope="module")
def port() -> int:
    """The first of those that the session has."""
    return next(
        first
        for first in yarn.free(())
        if not any(listens(one, host) for one in range(first, first + yarn.PORTS) for host in (NODE, HOST))
    )


def told(core_site: dict[str, str], yarn_site: dict[str, str], port: int) -> dict[str, str]:
    """What the hub tells a session of such a cluster."""
    cluster = clusters.YarnCluster(
        name="lab", title="Lab", kind="yarn", max=2, cores=1, memory_gib=2, queue="lab", networks=("127.0.0.0/8",),
        hadoop={"core-site": core_site, "hdfs-site": {"dfs.replication": "1"}, "yarn-site": yarn_site},
    )  # fmt: skip
    owner = clusters.Owner(
        slug="user", place="spark-user-1", sessions="sessions", uid=1000, gid=100, image="i", home="", user="user"
    )
    ((_, (_, secret)),) = yarn.made(cluster, owner, port)
    files: dict[str, str] = secret["stringData"]
    files["spark-defaults.conf"] += settings_file({"spark.driver.memory": "512m", "spark.yarn.am.memory": "384m"})
    return files


@pytest.fixture(scope="module")
def came(port: int) -> Iterator[list[int]]:
    """To which of the session's ports somebody came."""
    with hadoop.node(NODE, range(port, port + yarn.PORTS)) as those:
        yield those


@pytest.fixture(scope="module")
def lab(folder: Path, site: Hadoop, port: int, came: list[int]) -> Iterator[str]:
    """The address of a notebook server of a session that has this cluster."""
    assert came == []
    with spark_lab.lab(folder, told(site.core_site, site.yarn_site, port), NODE) as url:
        yield url


@pytest.fixture
def kernel(lab: str) -> Iterator[Kernel]:
    """A kernel, which ends with its driver."""
    with spark_lab.kernel(lab) as made:
        yield made


def connected(kernel: Kernel, more: str = "") -> str:
    """Starts a driver; gives YARN's name of it."""
    return kernel.run(CONNECT.format(more=more), seconds=300).split()[-1]


def test_executors_have_the_drivers_software_and_come_by_the_machines_ports(
    kernel: Kernel, came: list[int], port: int
) -> None:
    application = connected(kernel)
    assert application.startswith("application_")
    assert str({(VIEW, SPARK, "/home/")}) in kernel.run(LOOK.format(tasks=4), seconds=400)
    # YARN's own process and executors come to the driver, and executors to what it hands out.
    assert set(came) == {port, port + yarn.PORTS // 2}
    assert executors(application)
    for name in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert kernel.run(f"print(sc.getConf().get('{name}'))").strip() == "true"
    assert kernel.run("print(sc.getConf().get('spark.authenticate.secret'))").strip() == "None"
    # Settings, and no software.
    assert int(kernel.run(STAGED)) < 1_000_000


def test_a_second_driver_of_the_session_has_ports_of_its_own(
    lab: str, kernel: Kernel, came: list[int], port: int
) -> None:
    connected(kernel)
    with spark_lab.kernel(lab) as another:
        connected(another)
        assert another.run("print(sc.parallelize(range(10), 2).sum())", seconds=200).split()[-1] == "45"
    assert {port + 1, port + 1 + yarn.PORTS // 2} <= set(came)


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


def test_the_ticket_of_a_session_is_javas_too(tmp_path: Path) -> None:
    """No Hadoop that asks for one runs here: that its client in the driver has the user by it is what is seen."""
    kdc = Kdc(tmp_path)
    kdc.administer("addprinc -pw secret ada")
    session, cluster = tmp_path / "session", tmp_path / "cluster"
    session.mkdir()
    cluster.mkdir()
    for name, text in told({"hadoop.security.authentication": "kerberos"}, {}, 30000).items():
        (cluster / name).write_text(text)
    kdc.start()
    try:
        kinit = ["kinit", "-c", f"FILE:{session}/ticket", "ada"]
        subprocess.run(kinit, env=kdc.environment, input=b"secret", stdout=subprocess.DEVNULL, check=True)
        shutil.copy(kdc.config, session / "krb5.conf")
        os.chown(session / "ticket", image_root.USER, image_root.USER)
        with image_root.running(
            "session",
            ["sh", "-c", _ALONE, WHO],
            data=tmp_path / "home",
            inside=HOME,
            log=tmp_path / "log",
            environment={
                **ENVIRONMENT, "HOME": HOME, "CYGNET_VIEW": VIEW, "CYGNET_SPARK": SPARK, "CYGNET_CLUSTER": CLUSTER,
                "CYGNET_NODE": HOST, "KRB5CCNAME": "FILE:/mnt/ticket", "KRB5_CONFIG": "/mnt/krb5.conf",
            },
            beside={
                **spark_lab.software(), cluster: CLUSTER, spark_lab.known_user(tmp_path): USERS, session: "/mnt",
            },
            knows_itself=True,
        ) as process:  # fmt: skip
            process.wait(200)
    finally:
        kdc.stop()
    assert "user ada@CYGNET.TEST True" in (tmp_path / "log").read_text()

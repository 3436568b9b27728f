"""A YARN with HDFS that asks everybody who they are: a real realm, a real hub, and sessions with the hub's tickets.

Tickets, and the words that HDFS gives out for them, last minutes here: a driver outlives the first ones.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cygnet_hub.config import CREDENTIALS

from tests.live.kernel import Kernel, KernelError
from tests.live.waiting import until
from tests.machines import hadoop_kerberos, kerberos_hub, spark_lab, yarn_lab
from tests.machines.hadoop import Hadoop
from tests.machines.kdc import Kdc
from tests.machines.kerberos_hub import password
from tests.machines.spark_lab import connected
from tests.unit.running_hub import Someone

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(1200)]

SECONDS = 180
"""How long a ticket lasts, and how long HDFS takes what it gave out for one."""
FIRST = "/tmp/first-ticket"  # noqa: S108 - of a session, which has one of its own
HADOOP = """\
of = spark._jvm.org.apache.hadoop
told = spark._jsc.hadoopConfiguration()
hdfs = of.fs.FileSystem.get(told)

def path(name):
    return of.fs.Path(name)

def applications():
    client = of.yarn.client.api.YarnClient.createYarnClient()
    client.init(of.yarn.conf.YarnConfiguration(told))
    client.start()
    return client, [one.getApplicationId().toString() for one in client.getApplications()]
"""
WRITE = """\
spark.range(0, 1000, 1, 4).write.mode("overwrite").parquet("/user/{name}/numbers")
print("rows", spark.read.parquet("/user/{name}/numbers").count())
print("owners", {{one.getOwner() for one in hdfs.listStatus(path("/user/{name}/numbers"))}})
"""
WHO = """\
user = of.security.UserGroupInformation.getCurrentUser()
print(user.getUserName(), user.getAuthenticationMethod().toString())
"""


@dataclass(frozen=True)
class Realm:
    """A realm, with a hub that asks it and a Hadoop that is in it."""

    hub: str
    hadoop: Hadoop

    @contextmanager
    def session(self, name: str, folder: Path) -> Iterator[str]:
        """The address of somebody's notebook server, which has a ticket."""
        api, token = kerberos_hub.of_session(Someone(self.hub, name, password(name)))
        given = {**CREDENTIALS["kerberos"], "JUPYTERHUB_API_URL": api, "JUPYTERHUB_API_TOKEN": token}
        with yarn_lab.session(folder, self.hadoop, name, given) as made:
            with spark_lab.kernel(made.url) as kernel:
                until(lambda: _has_ticket(kernel), "the ticket is there", seconds=60)
            yield made.url


def _has_ticket(kernel: Kernel, variables: str = "") -> bool:
    """Whether klist in the session says that there is one that did not end."""
    return kernel.run(f"import os; print(os.system('{variables} klist -s'))").strip() == "0"


@pytest.fixture(scope="module")
def realm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realm]:
    """Of a laboratory."""
    folder = tmp_path_factory.mktemp("realm")
    kdc = Kdc(folder, ticket_hours=SECONDS / 3600)
    for name in hadoop_kerberos.USERS:
        kdc.administer(f'addprinc -pw "{password(name)}" {name}')
    kdc.start()
    with ExitStack() as stack:
        stack.callback(kdc.stop)
        site = Hadoop(tmp_path_factory.mktemp("hadoop"), realm=kdc, token_seconds=SECONDS)
        stack.callback(site.close)
        site.ready()
        for name in hadoop_kerberos.USERS:
            site.administer("-mkdir", "-p", f"/user/{name}")
            site.administer("-chown", name, f"/user/{name}")
        site.administer("-chmod", "700", *(f"/user/{name}" for name in hadoop_kerberos.USERS))
        yield Realm(stack.enter_context(kerberos_hub.hub(kdc, folder, hadoop_kerberos.USERS, {}, {})), site)


@pytest.fixture(scope="module")
def lab(realm: Realm, folder: Path) -> Iterator[str]:
    """The address of ada's notebook server."""
    with realm.session("ada", folder) as url:
        yield url


@dataclass(frozen=True)
class Driver:
    """It, in a kernel, and when it was there."""

    kernel: Kernel
    application: str
    since: float

    def run(self, code: str, seconds: float = 300) -> str:
        """Runs a cell."""
        return self.kernel.run(code, seconds=seconds)


@pytest.fixture(scope="module")
def driver(lab: str) -> Iterator[Driver]:
    """Of ada's: one for all tests, as to start one takes most of their time."""
    with spark_lab.kernel(lab) as kernel:
        kernel.run(f"import os, shutil; shutil.copy('/tmp/kerberos-ticket', {FIRST!r})")
        since = time.monotonic()
        application = connected(kernel)
        kernel.run(HADOOP)
        yield Driver(kernel, application, since)


def test_a_driver_and_its_executors_are_whom_the_ticket_says(driver: Driver) -> None:
    assert driver.run(WHO).split() == ["ada@CYGNET.TEST", "KERBEROS"]
    # What is written is written by executors.
    said = driver.run(WRITE.format(name="ada"))
    assert "rows 1000\n" in said
    assert "owners {'ada'}" in said


def test_what_is_bobs_is_bobs(driver: Driver, realm: Realm, tmp_path: Path) -> None:
    with realm.session("bob", tmp_path) as url, spark_lab.kernel(url) as kernel:
        bobs = connected(kernel)
        kernel.run(HADOOP + WRITE.format(name="bob"), seconds=300)
        for code in (
            "spark.read.parquet('/user/bob/numbers').count()",
            "hdfs.listStatus(path('/user/bob'))",
            "hdfs.setOwner(path('/user/bob'), 'ada', None)",
            "hdfs.mkdirs(path('/user/ada2'))",
        ):
            with pytest.raises(KernelError, match="Permission denied"):
                driver.run(code)
        assert driver.run("client, seen = applications(); print(seen)").strip() == f"['{driver.application}']"
        kill = f"client.killApplication(of.yarn.api.records.ApplicationId.fromString('{bobs}'))"
        with pytest.raises(KernelError, match="cannot perform operation MODIFY_APP"):
            driver.run(kill)
        assert kernel.run("print(spark.range(10).count())", seconds=300).split()[-1] == "10"


def test_a_name_without_a_ticket_is_nobodys(kernel: Kernel, driver: Driver) -> None:
    assert driver.application
    kernel.run("import os; os.environ['HADOOP_USER_NAME'] = 'hdfs'")
    connected(kernel, ".master('local[1]')")
    assert kernel.run(HADOOP + WHO).split()[-2:] == ["ada@CYGNET.TEST", "KERBEROS"]
    with pytest.raises(KernelError, match="Permission denied: user=ada"):
        kernel.run("hdfs.listStatus(path('/user/bob'))")


def test_a_driver_outlives_its_first_ticket(driver: Driver) -> None:
    left = max(0.0, driver.since + SECONDS + 15 - time.monotonic())
    driver.run(f"import time; time.sleep({left})")
    assert not _has_ticket(driver.kernel, f"KRB5CCNAME={FIRST}")
    assert _has_ticket(driver.kernel)
    # A new connection to YARN needs a ticket; new executors, and files, what HDFS gives for one.
    assert driver.application in driver.run("client, seen = applications(); print(seen)")
    assert "owners {'ada'}" in driver.run(WRITE.format(name="ada"))


@pytest.mark.parametrize("file", ["/tmp/none", FIRST])  # noqa: S108
def test_who_has_no_ticket_that_is_good_is_told_what_to_do(
    kernel: Kernel, driver: Driver, folder: Path, file: str
) -> None:
    assert driver.application
    kernel.run(f"import os; os.environ['KRB5CCNAME'] = 'FILE:{file}'")
    before = len((folder / "log").read_text())
    with pytest.raises(KernelError):
        connected(kernel)
    assert "Sign in again" in (folder / "log").read_text()[before:] + kernel.run("print()")

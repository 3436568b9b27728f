"""Executors die, machines are emptied or start anew, too much is asked for: jobs end well, and users read what it is.

On any stack with clusters for Spark that `--stack` names, as the tests' own has none. What is hurt are executors of the
tests' own people, and one worker for some minutes: not for a service that somebody uses. That executors go with a
kernel that is restarted is seen in the journeys.
"""

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.live import machines, spark_executors
from tests.live.kernel import Kernel
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600, func_only=True)]
BOTH_KINDS = pytest.mark.parametrize("cluster", ["kubernetes", "standalone"], indirect=True, scope="module")
OF_PODS = pytest.mark.parametrize("cluster", ["kubernetes"], indirect=True, scope="module")

CONNECT = """\
from pyspark.sql import SparkSession
spark = SparkSession.builder{more}.getOrCreate()
sc = spark.sparkContext

def executors():
    known = sc._jsc.sc().getExecutorIds()
    return {{known.apply(number) for number in range(known.size())}}
"""
# Each task says in which executor it ran; all take so long that another executor comes meanwhile.
WORK = """\
def work(number):
    import os, signal, time
    from pyspark import TaskContext
    time.sleep({seconds})
    if {kill} and number == 2 and TaskContext.get().attemptNumber() == 0:
        process = os.getpid()
        while b"ExecutorBackend" not in open(f"/proc/{{process}}/cmdline", "rb").read():
            process = int(open(f"/proc/{{process}}/stat").read().rpartition(")")[2].split()[1])
        os.kill(process, signal.SIGKILL)
    return number

total = sum(sc.parallelize(range({tasks}), {tasks}).map(work).collect())
"""
MORE_THAN_A_USER_MAY_HAVE = ".config('spark.executor.memory', '900g')"
PATIENCE_SECONDS = 40
"""In which a job of a few seconds ends that has executors, which come first, on a busy computer."""
AT_ONCE = ".config('spark.dynamicAllocation.enabled', 'false').config('spark.executor.instances', 1)"


def work(tasks: int, seconds: float, *, kill: bool = False) -> str:
    """A job, which leaves the sum of its tasks' numbers in `total`."""
    return WORK.format(tasks=tasks, seconds=seconds, kill=kill)


@pytest.fixture(autouse=True)
def _own_stack_only() -> None:
    """In place of the folder's own: see above."""


@pytest.fixture(scope="module")
def cluster(stack: LiveStack, request: pytest.FixtureRequest) -> str:
    """The first cluster that the stack offers, of the kind that the test is for."""
    return spark_executors.cluster_or_skip(stack, request.param)


@pytest.fixture(scope="module")
def analyst(stack: LiveStack, cluster: str) -> Iterator[Visitor]:
    """A user with a session that has the cluster."""
    with spark_executors.session_with(stack, cluster, "physicist") as visitor:
        yield visitor


@pytest.fixture
def notebook(stack: LiveStack, cluster: str, analyst: Visitor) -> Iterator[Kernel]:
    """The kernel of a notebook, which ends with its driver and its executors."""
    kernel = analyst.kernel()
    yield kernel
    kernel.close()
    for identity in analyst.kernels():
        analyst.api("DELETE", f"/user/{analyst.name}/api/kernels/{identity}").raise_for_status()
    until(lambda: not spark_executors.running(stack, cluster, analyst.name), "its executors are gone", seconds=90)


def connected(kernel: Kernel, more: str = "") -> str:
    """Starts a driver, the first of which reads all of Spark; gives what it says."""
    return kernel.run(CONNECT.format(more=more), seconds=200)


@BOTH_KINDS
def test_an_executor_that_is_killed_costs_time_and_no_job(notebook: Kernel) -> None:
    connected(notebook)
    notebook.run(work(8, 1), seconds=200)
    before = set(notebook.run("print(*executors())").split())
    assert before
    said = notebook.run(work(80, 1.5, kill=True), seconds=400)
    assert notebook.run("print(total)").strip() == "3160"
    assert re.search("Lost executor|ExecutorLostFailure", said), said
    after = set(notebook.run("print(*executors())").split())
    assert before - after, "none was lost"
    assert after - before, "no other one came"


@OF_PODS
def test_a_machine_that_is_emptied_costs_time_and_no_job(stack: LiveStack, analyst: Visitor, notebook: Kernel) -> None:
    connected(notebook)
    notebook.begin(work(60, 1.5))
    pods = until(lambda: spark_executors.pods(stack, analyst.name), "it has executors", seconds=120)
    machine, there = pods[0]["spec"]["nodeName"], {pod["metadata"]["name"] for pod in pods}
    time.sleep(5)
    with stack.closed(machine):
        # The session itself stays: who empties a machine tells its users.
        options = ("--pod-selector=spark-role=executor", "--force", "--delete-emptydir-data", "--ignore-daemonsets")
        stack.kubectl("drain", machine, *options, "--timeout=60s", seconds=70)
    assert notebook.run("print(total)", seconds=300).strip().endswith("1770")
    assert {pod["metadata"]["name"] for pod in spark_executors.pods(stack, analyst.name)} - there, "no other ones came"


@OF_PODS
def test_a_machine_that_starts_anew_costs_time_and_no_job(stack: LiveStack, analyst: Visitor, notebook: Kernel) -> None:
    lost, _ = _begun_elsewhere(stack, analyst, notebook, work(80, 1.5))
    booted = machines.boot_time(stack, lost)
    subprocess.run([*stack.ssh(lost), "systemctl", "reboot"], timeout=30, check=False)
    assert notebook.run("print(total)", seconds=400).strip().endswith("3160")
    until(lambda: machines.boot_time(stack, lost) != booted, f"{lost} is back", seconds=120, through=RuntimeError)
    until(lambda: machines.is_ready(stack, lost), f"{lost} takes sessions again", seconds=120)
    if spark_executors.cluster_of_kind(stack, "standalone"):
        daemons = ("pods", "--all", "--namespace=spark", "--for=condition=Ready")
        stack.kubectl("wait", *daemons, "--timeout=180s", seconds=190)


@OF_PODS
def test_a_machine_that_is_lost_costs_time_and_no_job(stack: LiveStack, analyst: Visitor, notebook: Kernel) -> None:
    lost, gone = _begun_elsewhere(stack, analyst, notebook, work(60, 1.5))
    try:
        began = time.monotonic()
        machines.pull_the_plug(stack, lost)
        until(lambda: not gone & _executors(stack, analyst), "its executors count no more", seconds=150)
        print(f"executors of a lost machine are gone after {time.monotonic() - began:.0f} s")
        assert notebook.run("print(total)", seconds=400).strip().endswith("1770")
        print(f"its job has ended after {time.monotonic() - began:.0f} s")
    finally:
        machines.bring_back(stack)
        until(lambda: machines.is_ready(stack, lost), f"{lost} takes sessions again", seconds=120)


@OF_PODS
def test_who_asks_for_more_than_a_user_may_have_reads_the_limit(notebook: Kernel) -> None:
    said = connected(notebook, MORE_THAN_A_USER_MAY_HAVE + AT_ONCE)
    said += notebook.run("import time; time.sleep(20)")
    assert re.search(r"exceeded quota: executors-of-a-user, requested: .*limited: .*limits\.memory=", said), said


@BOTH_KINDS
def test_a_second_user_gets_a_share_or_waits_and_sees_nothing_of_the_first(
    stack: LiveStack, cluster: str, analyst: Visitor, notebook: Kernel
) -> None:
    """Where the cluster is not for a neighbour, the second one is another notebook of the same user."""
    connected(notebook)
    (firsts_kernel,) = analyst.kernels()
    notebook.begin(work(60, 1.5))
    until(lambda: spark_executors.running(stack, cluster, analyst.name), "the first one has executors", seconds=120)
    firsts = {pod["status"]["podIP"] for pod in spark_executors.pods(stack, analyst.name)}
    second = Visitor(stack, "neighbour")
    second.stop()
    answer = second.ask_for_session(spark=cluster)
    if answer.status_code in (201, 202):
        until(second.is_ready, "the second one's session is ready", seconds=120)
        kernel = second.kernel()
    else:
        assert answer.status_code == 400, answer.text
        kernel = analyst.kernel()
    try:
        connected(kernel)
        began = time.monotonic()
        said = kernel.run(work(8, 1), seconds=400)
        waited = time.monotonic() - began
        assert kernel.run("print(total)").strip() == "28"
        print(f"the second one's job ended after {waited:.0f} s")
        # Spark says so after 15 s, and again and again.
        assert waited < PATIENCE_SECONDS or "Initial job has not accepted any resources" in said, said
        known = kernel.run("print(sc._jsc.sc().getExecutorMemoryStatus().keys().mkString(' '))").split()
        assert not firsts & {address.rpartition(":")[0] for address in known}
        # The first connection was not listened to meanwhile, so the session has closed it.
        again = analyst.kernel(firsts_kernel)
        assert again.run("print(total)", seconds=300).strip().endswith("1770")
        again.close()
    finally:
        kernel.close()
        second.stop()


def _begun_elsewhere(stack: LiveStack, analyst: Visitor, notebook: Kernel, job: str) -> tuple[str, set[str]]:
    """Begins a job of a new driver on a machine that is not the session's; gives that, and names of executors there."""
    if stack.name == "local" or len(stack.group("worker")) < 2:
        pytest.skip("needs two workers, and a stack whose machines may be hurt, which 'local' is not")
    connected(notebook)
    session = stack.session_machine(analyst.name)
    with stack.closed(session):
        notebook.begin(job)
        pods = until(lambda: spark_executors.pods(stack, analyst.name), "it has executors", seconds=120)
        machine = str(pods[0]["spec"]["nodeName"])
        assert machine != session
        time.sleep(5)
    return machine, {pod["metadata"]["name"] for pod in pods}


def _executors(stack: LiveStack, analyst: Visitor) -> set[str]:
    """All that Kubernetes has of them, and counts: what runs, and what it takes to run."""
    place = spark_executors.place(stack, analyst.name)
    assert place
    return {pod["metadata"]["name"] for pod in stack.items("pods", "--namespace", place)}

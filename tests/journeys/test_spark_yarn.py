"""A YARN with HDFS beside a live stack, and sessions in pods whose drivers it reaches; nobody else does.

On a stack of its own, which gets the cluster while it is up: only then its address is known.
"""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from cygnet_hub import yarn

from components.software import SoftwareConfig
from operations import up
from operations.stack import Stack
from tests.conftest import OWN_STACK
from tests.live import institute, own, spark_executors
from tests.live.kernel import Kernel
from tests.live.reach import reached
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session
from tests.live.waiting import until
from tests.machines import hadoop, spark_lab

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(600, func_only=True)]

NAME, CLUSTER = f"{OWN_STACK}-yarn", "lab"
AUTH: dict[str, Any] = {"accounts": ["physicist", "neighbour"], "groups": {"atlas": ["physicist"]}}
CONFIG: dict[str, Any] = {
    **institute.SMALL,
    "cygnet:cvmfs": {"poll_seconds": 5},
    "cygnet:auth": AUTH,
    "cygnet:eos": institute.EOS,
    "cygnet:hub": {"memory_gib_guaranteed": 0.2, "memory_gib": 2, "tmp_gib": 1},
}
# What executors have: the software of the driver, and nothing of its user.
LOOK = """\
def look(_):
    import os, time
    import ROOT
    time.sleep(1)
    return os.environ["CYGNET_VIEW"], ROOT.gROOT.GetVersion(), os.getuid()

import json, os, ROOT
rows = sc.parallelize(range(8), 8).map(look).collect()
print(json.dumps({
    "tasks": len(rows),
    "same": {row[:2] for row in rows} == {(os.environ["CYGNET_VIEW"], ROOT.gROOT.GetVersion())},
    "own": sum(row[2] == os.getuid() for row in rows),
}))
"""
# What its user has there is by their name, and read again by who runs it.
TABLE = """\
spark.range(1000).write.mode("overwrite").parquet("/user/physicist/numbers")
files = sc._jvm.org.apache.hadoop.fs.FileSystem.get(sc._jsc.hadoopConfiguration())
path = sc._jvm.org.apache.hadoop.fs.Path("/user/physicist/numbers")
print(spark.read.parquet("/user/physicist/numbers").count(), files.getFileStatus(path).getOwner())
"""


@pytest.fixture(scope="module")
def before(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    """The stack without a cluster."""
    folder = tmp_path_factory.mktemp("stack")
    with institute.stack_beside(NAME, CONFIG, pytestconfig=pytestconfig, folder=folder) as made:
        yield made


@pytest.fixture(scope="module")
def address(before: LiveStack) -> str:
    """This computer's in the network of the stack's machines."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect((before.address("worker-1"), 9))  # nothing is sent
        return str(asked.getsockname()[0])


@pytest.fixture(scope="module")
def site(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """What a stack file says of a Hadoop there."""
    with hadoop.for_stacks(tmp_path_factory.mktemp("hadoop"), address) as told:
        yield told


@pytest.fixture(scope="module")
def stack(before: LiveStack, site: dict[str, Any]) -> LiveStack:
    """The stack, with it as a cluster of a group."""
    cluster = {"kind": "yarn", "title": "The laboratory's", "executors": {"max": 2, "cores": 1, "memory_gib": 2}}
    config = {
        **CONFIG,
        "cygnet:auth": {**AUTH, "rights": {"features": {CLUSTER: ["atlas"]}}},
        "cygnet:spark": {"clusters": {CLUSTER: {**cluster, "yarn": site}}},
    }
    own.write_config(Stack(NAME), config)
    up.bring_up(Stack(NAME))
    made = LiveStack.of(NAME, Stack(NAME).outputs(), before.folder)
    spark = made.host("worker-1").file(f"/cvmfs/{SoftwareConfig().repository}/spark/setup.sh")
    until(lambda: spark.exists, "the machine has Spark of the repository", seconds=60)
    return made


@pytest.fixture(scope="module")
def analyst(stack: LiveStack) -> Iterator[Visitor]:
    """One of the group, with a session that has the cluster."""
    with spark_executors.session_with(stack, CLUSTER, "physicist") as visitor:
        yield visitor


@pytest.fixture(scope="module")
def notebook(analyst: Visitor) -> Iterator[Kernel]:
    """The kernel of a notebook with a driver in it."""
    kernel = analyst.kernel()
    assert spark_lab.connected(kernel).startswith("application_")
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def neighbour(stack: LiveStack) -> Iterator[Visitor]:
    """Not of the group, with a session."""
    with session(stack, "neighbour") as visitor:
        yield visitor


def test_executors_of_yarn_come_to_a_driver_in_a_pod_and_have_its_software(notebook: Kernel) -> None:
    told = json.loads(notebook.run(LOOK, seconds=400).splitlines()[-1])
    assert told == {"tasks": 8, "same": True, "own": 0}
    assert notebook.run("print(sc.parallelize(range(1000), 10).sum())", seconds=200).split()[-1] == "499500"
    for name in ("spark.authenticate", "spark.network.crypto.enabled", "spark.io.encryption.enabled"):
        assert notebook.run(f"print(sc.getConf().get('{name}'))").strip() == "true"


def test_a_user_has_files_in_hdfs(notebook: Kernel) -> None:
    assert notebook.run(TABLE, seconds=300).split()[-2:] == ["1000", "physicist"]


def test_drivers_are_reached_from_yarns_network_and_by_nobody_else(
    stack: LiveStack, notebook: Kernel, neighbour: Visitor
) -> None:
    pod = stack.session_pod("physicist")
    assert pod
    (ports,) = (
        [port["nodePort"] for port in one["spec"]["ports"]]
        for one in stack.items("services", "--namespace", "sessions")
        if one["spec"]["type"] == "NodePort"
    )
    assert len(ports) == yarn.PORTS
    driver = int(notebook.run("print(sc.getConf().get('spark.driver.port'))"))
    assert driver in ports
    node = stack.address(stack.session_machine("physicist"))
    with socket.create_connection((node, driver), timeout=4):
        pass
    targets = [(node, driver), (pod["status"]["podIP"], driver)]
    assert "open" not in reached(neighbour, targets)
    # A machine of the stack is none of YARN's either.
    at = f"timeout 4 bash -c '</dev/tcp/{node}/{driver}'"
    assert stack.host("control-plane-1").run(at).failed
    # The session has nothing else there: not its page.
    with pytest.raises(OSError), socket.create_connection((node, 8888), timeout=4):  # noqa: PT011 - whichever it is
        pass


def test_who_is_not_of_the_group_has_no_way_to_yarn(neighbour: Visitor, notebook: Kernel) -> None:
    manager = notebook.run("print(sc._jsc.hadoopConfiguration().get('yarn.resourcemanager.address'))").strip()
    host, _, port = manager.rpartition(":")
    assert reached(notebook, [(host, int(port))]) == ["open"]
    assert "open" not in reached(neighbour, [(host, int(port))])
    answer = neighbour.ask_for_session(spark=CLUSTER)
    assert answer.status_code == 400


def test_a_pipeline_ends_in_the_model_that_it_ends_in_without_a_cluster(analyst: Visitor, notebook: Kernel) -> None:
    notebook.run("spark.stop()")
    kernel = analyst.kernel()
    try:
        spark_lab.assert_same_model(kernel, "yarn")
    finally:
        kernel.close()


def test_the_ports_go_with_the_session(stack: LiveStack, analyst: Visitor, neighbour: Visitor) -> None:
    assert neighbour.is_ready()
    left = ("get", "services,networkpolicies,secrets", "--namespace=sessions", "--output=name")
    assert "physicist" in stack.kubectl(*left)
    analyst.stop()
    until(lambda: "physicist" not in stack.kubectl(*left), "nothing of the session is left", seconds=60)

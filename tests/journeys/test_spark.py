"""Spark beside a session: executors with its software; where they are pods, nobody else reaches or sees them.

What a user does is the same with a cluster of either kind. A standalone one has to be for a group of the physicist's,
of which the neighbour is not.
"""

import json
import re
import socket
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.live import institute, open_data, spark_executors, spark_pages
from tests.live.kernel import Kernel, KernelError
from tests.live.notebooks import CLEAN, run_notebook
from tests.live.person import Person
from tests.live.reach import reached, reached_by_executors
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

pytestmark = pytest.mark.nightly
BOTH_KINDS = pytest.mark.parametrize("cluster", ["kubernetes", "standalone"], indirect=True, scope="module")
OF_PODS = pytest.mark.parametrize("cluster", ["kubernetes"], indirect=True, scope="module")
A_STANDALONE_ONE = pytest.mark.parametrize("cluster", ["standalone"], indirect=True, scope="module")
OWN = {"kubernetes": 16, "standalone": 0}
"""How many of 16 tasks run with the user's number, and have packages of the user's home."""

PACKAGE = """\
import pathlib, site
folder = pathlib.Path(site.getusersitepackages())
folder.mkdir(parents=True, exist_ok=True)
(folder / "of_the_user.py").write_text("value = 42")
"""
CONNECT = """\
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
sc = spark.sparkContext
"""
# As long as each task takes, several executors have some.
LOOK = """\
import json

def look(_):
    import os, random, socket, time
    import ROOT
    try:
        from of_the_user import value
    except ImportError:
        value = 0
    time.sleep(2)
    inside = sum(random.random() ** 2 + random.random() ** 2 < 1 for _ in range(10000))
    return inside, socket.gethostname(), (os.environ["CYGNET_VIEW"], ROOT.gROOT.GetVersion()), (os.getuid(), value)

import os, ROOT
rows = sc.parallelize(range(16), 16).map(look).collect()
print(json.dumps({
    "pi": 4 * sum(row[0] for row in rows) / 160000, "executors": len({row[1] for row in rows}),
    "same": {row[2] for row in rows} == {(os.environ["CYGNET_VIEW"], ROOT.gROOT.GetVersion())},
    "own": sum(row[3] == (os.getuid(), 42) for row in rows),
}))
"""
SECURED = """\
print(json.dumps([sc.getConf().get(key) for key in ("spark.authenticate", "spark.network.crypto.enabled",
    "spark.io.encryption.enabled")]))
"""
# What a session may ask Kubernetes, by nothing but what it has.
ASK = """\
import json, ssl, urllib.error, urllib.request

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

def ask(path, body=None):
    request = urllib.request.Request(f"https://kubernetes.default.svc{path}", data=body and json.dumps(body).encode(),
        headers={"Authorization": "Bearer " + open(f"{ACCOUNT}/token").read(), "Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, context=ssl.create_default_context(cafile=f"{ACCOUNT}/ca.crt")) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)["message"]
"""
TRY_PODS = """\
import yaml

def variant(**changes):
    pod = yaml.safe_load(open("/etc/cygnet/spark/executor.yaml"))
    container = pod["spec"]["containers"][0]
    container["image"] = sc.getConf().get("spark.kubernetes.container.image")
    container["resources"] = {"limits": {"cpu": 1, "memory": "100Mi", "ephemeral-storage": "1Gi"}}
    pod["metadata"] = {"name": "tried"}
    pod["spec"].update(changes)
    return pod

pods = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
volumes, security = variant()["spec"]["volumes"], variant()["spec"]["securityContext"]
print(json.dumps({
    "as it should be": ask(pods, variant()),
    "a folder of the machine": ask(pods, variant(volumes=[*volumes, {"name": "m", "hostPath": {"path": "/"}}])),
    "another's number": ask(pods, variant(securityContext={**security, "runAsUser": 70099})),
    "another's pods": ask(f"/api/v1/namespaces/{other}/pods"),
    "own pods": ask(f"/api/v1/namespaces/{namespace}/pods"),
    "sessions": ask("/api/v1/namespaces/sessions/pods"),
}))
"""
EXECUTOR_PORT, DRIVER_PORT = 40200, 40000
SITE, ELSEWHERE = "198.51.100.21", "198.51.100.22"
"""Where a site has its data, and where other things: of a network for examples, at this computer for a test."""


@pytest.fixture(scope="module")
def cluster(stack: LiveStack, request: pytest.FixtureRequest) -> str:
    """The first cluster that the stack offers, of the kind that the test is for."""
    return spark_executors.cluster_or_skip(stack, request.param)


@pytest.fixture(scope="module")
def kind(stack: LiveStack, cluster: str) -> str:
    """Of that cluster."""
    return str(stack.parts["spark"]["kinds"][cluster])


@pytest.fixture(scope="session")
def areas() -> dict[str, list[tuple[str, str]]]:
    """Below the ROC curve, what a pipeline reached, by kinds of clusters."""
    return {}


@pytest.fixture(scope="module")
def analyst(stack: LiveStack, cluster: str) -> Iterator[Visitor]:
    """A user with a session that has a cluster."""
    with spark_executors.session_with(stack, cluster, "physicist") as visitor:
        visitor.run(PACKAGE)
        yield visitor


@pytest.fixture(scope="module")
def notebook(analyst: Visitor) -> Iterator[Kernel]:
    """The kernel of a notebook with a driver in it."""
    kernel = analyst.kernel()
    kernel.run(CONNECT, seconds=120)
    yield kernel
    kernel.close()


@pytest.fixture(scope="module")
def neighbour(stack: LiveStack, cluster: str) -> Iterator[Visitor]:
    """Another one."""
    with spark_executors.session_with(stack, cluster, "neighbour") as visitor:
        yield visitor


@BOTH_KINDS
@pytest.mark.timeout(420, func_only=True)  # the first driver of a machine, and its first executors
def test_one_click_connects_and_jobs_are_shown_in_their_cell(
    cluster: str, kind: str, analyst: Visitor, person: Callable[..., Person]
) -> None:
    """The first one: its driver has all executors, and leaves them to the others."""
    physicist = person("physicist", leave_session=True)
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("Python 3")
    spark_pages.connect(physicist, cluster)
    cell = physicist.begin_cell(LOOK)
    spark_pages.watch(physicist, cell, jobs=1, tasks=16)
    expect(cell.locator(".jp-OutputArea-output").last).to_contain_text(f'"same": true, "own": {OWN[kind]}')
    page = spark_pages.drivers_page(physicist)
    assert re.match(rf"{re.escape(physicist.url)}/user/physicist/cygnet/spark/40\d\d/", page.url)
    for kernel in analyst.kernels():
        analyst.api("DELETE", f"/user/physicist/api/kernels/{kernel}").raise_for_status()


@OF_PODS
def test_the_page_of_a_driver_is_its_owners(stack: LiveStack, notebook: Kernel, neighbour: Visitor) -> None:
    port = int(notebook.run("print(sc.uiWebUrl.rpartition(':')[2])"))
    place = f"/user/physicist/cygnet/spark/{port}/api/v1/applications"
    assert neighbour.api("GET", place).status_code in (403, 404)
    session = stack.session_pod("physicist")
    assert session
    targets = [(session["status"]["podIP"], port)]
    assert "open" not in reached(neighbour, targets)


@BOTH_KINDS
def test_a_notebook_computes_on_executors_with_its_own_software(kind: str, notebook: Kernel) -> None:
    told = json.loads(notebook.run(LOOK, seconds=200).splitlines()[-1])
    assert 3.0 < told["pi"] < 3.3
    assert told["executors"] >= {"kubernetes": 2, "standalone": 1}[kind]
    assert told["same"]
    assert told["own"] == OWN[kind]
    assert json.loads(notebook.run(SECURED)) == ["true", "true", "true"]


@OF_PODS
def test_a_session_makes_executors_and_nothing_else(stack: LiveStack, notebook: Kernel, neighbour: Visitor) -> None:
    assert neighbour.is_ready()
    places = tuple(spark_executors.place(stack, name) for name in ("physicist", "neighbour"))
    where = f"namespace, other = {places!r}\n"
    said = json.loads(notebook.run(ASK + where + TRY_PODS))
    # What is in order is still one more than the user may have, or there is room: both are answers to a good pod.
    assert said["as it should be"][0] == 201 or "exceeded quota" in said["as it should be"][1]
    assert "restricted" in said["a folder of the machine"][1]
    assert "runs as its user" in said["another's number"][1]
    # 422 is how Kubernetes says that a policy refuses.
    assert {what: said[what][0] for what in said if what != "as it should be"} == {
        "a folder of the machine": 403, "another's number": 422, "another's pods": 403, "own pods": 200,
        "sessions": 403,
    }  # fmt: skip


@OF_PODS
def test_another_user_reaches_neither_executors_nor_their_driver(
    stack: LiveStack, notebook: Kernel, neighbour: Visitor
) -> None:
    notebook.run(LOOK, seconds=200)  # so that there are some
    session = stack.session_pod("physicist")
    assert session
    targets = [(pod["status"]["podIP"], EXECUTOR_PORT) for pod in spark_executors.pods(stack, "physicist")]
    assert targets
    driver = (session["status"]["podIP"], DRIVER_PORT)
    assert reached(notebook, targets) == ["open"] * len(targets)
    assert "open" not in reached(neighbour, [*targets, driver])


@BOTH_KINDS
@pytest.mark.timeout(420, func_only=True)  # executors come first, and wait for what does not answer
def test_executors_read_what_a_site_serves_and_go_nowhere_else(
    stack: LiveStack, cluster: str, notebook: Kernel
) -> None:
    """A session goes to the outside, so that it shows what answers; executors go where the stack file says."""
    port = spark_executors.open_port_or_skip(stack, cluster, f"{SITE}/32")
    with (
        institute.address(SITE),
        institute.address(ELSEWHERE),
        socket.create_server((SITE, 0)) as another,
        open_data.served(notebook, port, SITE) as address,
    ):
        said = notebook.run(open_data.READ.format(address=address), seconds=300)
        assert said.split()[-2:] == [str(open_data.ENTRIES), str(open_data.SUM)]
        targets = [(SITE, port), (SITE, another.getsockname()[1]), (ELSEWHERE, port)]
        assert reached(notebook, targets) == ["open"] * len(targets)
        rows = reached_by_executors(notebook, targets)
    assert all(row[0] == "open" and "open" not in row[1:] for row in rows), rows


@BOTH_KINDS
def test_a_kernel_that_is_restarted_leaves_no_executors(
    stack: LiveStack, cluster: str, analyst: Visitor, notebook: Kernel
) -> None:
    notebook.run(LOOK, seconds=200)
    assert spark_executors.running(stack, cluster, "physicist")
    for kernel in analyst.kernels():
        analyst.api("POST", f"/user/physicist/api/kernels/{kernel}/restart").raise_for_status()
    until(lambda: not spark_executors.running(stack, cluster, "physicist"), "its executors are gone", seconds=60)
    with pytest.raises(KernelError):
        notebook.run("sc.version")


@BOTH_KINDS
@pytest.mark.timeout(420, func_only=True)  # of one executor, where a worker has room for no more
def test_a_pipeline_ends_in_the_same_model(
    kind: str, analyst: Visitor, areas: dict[str, list[tuple[str, str]]]
) -> None:
    """The notebook that users with a cluster find in their home; it has a driver of its own, beside no other one."""
    ran = run_notebook(analyst, "pipeline.ipynb", folder="tutorials-spark", seconds=400, cell_seconds=300)
    analyst.run(CLEAN)
    assert (ran.failure, ran.errors, ran.not_run) == ("", [], [])
    assert "20000 events in 8 parts" in ran.text
    assert "results/model.joblib" in ran.files
    areas[kind] = re.findall(r"area: model (0\.\d+), .*, search (0\.\d+)", ran.text)
    assert areas[kind]
    assert all(other == areas[kind] for other in areas.values()), areas


@OF_PODS
def test_the_place_of_executors_goes_with_the_session(stack: LiveStack, analyst: Visitor) -> None:
    assert spark_executors.place(stack, "physicist")
    analyst.stop()
    gone = lambda: not stack.items("namespaces", "--selector=cygnet.io/owner=physicist")  # noqa: E731 - read at once
    until(gone, "the namespace of its executors is gone", seconds=60)
    left = stack.kubectl("get", "serviceaccounts,secrets,networkpolicies", "--namespace=sessions", "--output=name")
    assert "spark-physicist" not in left


@A_STANDALONE_ONE
def test_who_is_not_of_the_group_is_refused(cluster: str, visitor: Callable[[str], Visitor]) -> None:
    neighbour = visitor("neighbour")
    page = neighbour.sign_in(next_page="/hub/spawn")
    assert 'id="spawn_form"' in page.text
    assert f'value="{cluster}"' not in page.text
    answer = neighbour.ask_for_session(spark=cluster)
    assert answer.status_code == 400
    assert f"there is no spark '{cluster}' here" in answer.json()["message"]
    assert not neighbour.server()

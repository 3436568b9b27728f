"""SparkConnector and SparkMonitor in a real JupyterLab of the session's image, with a driver that has no executors.

All of Spark is as the repository has it. Where the hub would say which cluster there is, a file says `local[2]`.
"""

import json
import re
import time
from collections.abc import Iterator

import pytest
from cygnet_hub import drivers
from playwright.sync_api import Browser, expect

from tests.live import spark_pages
from tests.live.kernel import Kernel
from tests.live.notebooks import run_notebook
from tests.live.person import Person
from tests.live.waiting import until
from tests.machines import spark_lab
from tests.machines.spark_lab import HOME, TOKEN, ask, settings_file
from tests.machines.test_start_page import chromium

__all__ = ["chromium"]

pytestmark = pytest.mark.nightly

DEFAULTS = {
    "spark.master": "local[2]",
    "spark.driver.memory": "512m",
    "spark.driver.port": "40000",
    "spark.port.maxRetries": "15",
    "spark.ui.showConsoleProgress": "false",
    "spark.ui.killEnabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    **drivers.history(HOME, 30),
}
CONNECT = "from pyspark.sql import SparkSession\nsc = SparkSession.builder.getOrCreate().sparkContext\n"
WORK = """\
def slow(number):
    import time
    time.sleep(1)
    return number % 3, number

print(sorted(sc.parallelize(range(8), 8).map(slow).reduceByKey(lambda one, other: one + other, 2).collect()))
"""
DONE = "[(0, 9), (1, 12), (2, 7)]"
SECONDS_TO_END = 2
"""Less than Jupyter waits before it kills a kernel that was told to end."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a notebook server that was started as a session is, without a hub."""
    offered = drivers.bundles({"Few partitions": {"spark.sql.shuffle.partitions": "3"}})
    told = {"spark-defaults.conf": settings_file(DEFAULTS), "sparkconnector_bundles.json": json.dumps(offered)}
    with spark_lab.lab(tmp_path_factory.mktemp("spark"), told) as url:
        yield url


@pytest.fixture
def person(lab: str, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Person]:
    """Somebody with an empty desk in JupyterLab; kernels end with their window."""
    made = Person(chromium, lab, "user", "", pictures=request.config.getoption("--pictures"))
    made.page.goto(f"{lab}/lab?token={TOKEN}&reset")
    expect(made.page.locator(".jp-LauncherCard").first).to_be_visible(timeout=60_000)
    yield made
    made.close()
    for kernel in ask(lab, "GET", "api/kernels").json():
        ask(lab, "DELETE", f"api/kernels/{kernel['id']}")


def test_jobs_stages_and_tasks_are_shown_in_their_cell(person: Person) -> None:
    person.open_notebook("Python 3")
    person.run_cell(CONNECT)
    cell = person.begin_cell(WORK)
    spark_pages.watch(person, cell, jobs=1, tasks=10)
    # Nothing among what the cell printed.
    expect(cell.locator(".jp-OutputArea-output")).to_have_text(DONE)


def test_one_click_connects_with_what_was_chosen(lab: str, person: Person) -> None:
    person.open_notebook("Python 3")
    spark_pages.connect(person, "here", "Few partitions", **{"spark.app.name": "mine"})
    names = "spark.master", "spark.sql.shuffle.partitions", "spark.app.name", "spark.driver.port"
    told = person.run_cell(f"print(*[spark.conf.get(name) for name in {names}])")
    expect(told).to_have_text("local[2] 3 mine_swan 40000")
    spark_pages.watch(person, person.begin_cell(WORK), jobs=1, tasks=10)
    page = spark_pages.drivers_page(person)
    assert page.url.startswith(f"{lab}/cygnet/spark/4040/")
    person.page.locator("#spark-connector .jp-SparkConnector-logrefresh").click()


def test_a_kernel_without_a_page_has_a_driver_whose_page_is_its_owners(lab: str, kernel: Kernel) -> None:
    kernel.run(CONNECT)
    assert kernel.run(WORK).strip() == DONE, "nothing is said by what has no page to say it to"
    port = int(kernel.run("print(sc.uiWebUrl.rpartition(':')[2])"))
    jobs = f"cygnet/spark/{port}/api/v1/applications"
    assert [one["name"] for one in ask(lab, "GET", jobs).json()] == ["pyspark-shell"]
    assert ask(lab, "GET", jobs, token="").status_code in (302, 403)
    assert ask(lab, "POST", f"cygnet/spark/{port}/jobs/job/kill/?id=0").status_code in (403, 405)
    assert ask(lab, "GET", f"cygnet/spark/{port}/").headers["Location"] == f"/cygnet/spark/{port}/jobs/"
    assert ask(lab, "GET", "cygnet/spark/8888/api").status_code == 404
    kernel.run("sc.stop()")
    assert ask(lab, "GET", jobs).status_code == 404


def test_what_a_driver_did_is_shown_when_it_is_gone(lab: str, person: Person, kernel: Kernel) -> None:
    kernel.run(CONNECT + "sc.parallelize([1]).count(); sc.stop()")
    assert ask(lab, "GET", "cygnet/spark/past/", token="").status_code in (302, 403)
    begun = time.monotonic()
    assert ask(lab, "GET", "cygnet/spark/past/").ok
    print(f"a history after {time.monotonic() - begun:.1f} s")
    done = "cygnet/spark/past/api/v1/applications?status=completed"
    (first, *_) = until(lambda: ask(lab, "GET", done).json(), "a driver is in the history", seconds=60)
    person.page.goto(f"{lab}/cygnet/spark/past/")
    person.page.get_by_role("link", name=first["id"]).first.click()
    expect(person.page.get_by_role("heading", name=re.compile("Spark Jobs"))).to_be_visible()
    person.page.get_by_role("link", name="Executors", exact=True).click()
    expect(person.page.get_by_role("cell", name="driver").first).to_be_visible()
    person.picture("spark-history")


def test_a_pipeline_ends_in_a_model(kernel: Kernel) -> None:
    """The notebook that users with a cluster find in their home."""
    give = "import os, shutil; shutil.copytree(os.environ['CYGNET_SPARK'] + '/tutorials', 'tutorials-spark')"
    kernel.run(give)
    ran = run_notebook(kernel, "pipeline.ipynb", folder="tutorials-spark", seconds=400)
    assert (ran.failure, ran.errors, ran.not_run) == ("", [], [])
    assert "20000 events in 8 parts" in ran.text
    assert re.search(r"area: model 0\.\d+", ran.text), ran.text
    assert "results/model.joblib" in ran.files
    print(ran.seconds, ran.text)


def test_what_listens_does_not_keep_a_kernel_from_ending(lab: str, kernel: Kernel) -> None:
    assert kernel.run("import os; print(os.environ['SPARKMONITOR_KERNEL_PORT'])").strip().isdigit()
    (made,) = ask(lab, "GET", "api/kernels").json()
    begun = time.monotonic()
    assert ask(lab, "DELETE", f"api/kernels/{made['id']}").status_code == 204
    assert time.monotonic() - begun < SECONDS_TO_END


def test_a_prompt_and_a_terminal_have_no_monitor(kernel: Kernel) -> None:
    script = CONNECT + "print(sc.parallelize([1]).count(), sc.getConf().get('spark.extraListeners'))"
    clean = "env -u PYSPARK_SUBMIT_ARGS -u SPARKMONITOR_KERNEL_PORT"
    run = "import subprocess\nprint(subprocess.run({}, capture_output=True, text=True).stdout)"
    assert kernel.run(run.format([*clean.split(), "python3", "-c", script])).strip() == "1 None"
    assert kernel.run(run.format(["ipython", "-c", "print('conf' in globals())"])).strip() == "False"

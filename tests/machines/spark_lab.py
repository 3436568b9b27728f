"""A notebook server of the session's image with Spark as the repository has it, and daemons of a cluster beside it."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from engine.progress import Progress
from software import build
from tests.live.kernel import Kernel
from tests.live.notebooks import CLEAN, run_notebook
from tests.live.ports import free_ports
from tests.live.waiting import until
from tests.machines import image_root

TOKEN = "of this test alone"  # noqa: S105 - it is
VIEW = "/cvmfs/test.example.org/stable"
SPARK = "/cvmfs/test.example.org/spark"
CLUSTER, USERS, HOME = "/etc/cygnet/spark", "/var/lib/extrausers", "/home/user"
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "SPARK_LOCAL_IP": "127.0.0.1"}
CONNECT = """\
from pyspark.sql import SparkSession
spark = SparkSession.builder{more}.getOrCreate()
sc = spark.sparkContext
print(sc.applicationId)
"""
"""Starts a driver; {more} are further words for its builder."""
GIVE = "import os, shutil; shutil.copytree(os.environ['CYGNET_SPARK'] + '/tutorials', 'tutorials-spark')"
"""Gives a home the tutorials, as the start of a session does."""
_BACKEND = "CoarseGrainedExecutorBackend"


def software() -> dict[Path, str]:
    """A release and Spark, and where programs have them."""
    return {build.ensure("stable"): VIEW, build.ensure_spark(Progress()): SPARK}


def known_user(folder: Path, name: str = "user") -> Path:
    """A folder with what tells programs of an image whose number it is that they run with."""
    users = folder / "users"
    users.mkdir(exist_ok=True)
    (users / "passwd").write_text(f"{name}:x:{image_root.USER}:{image_root.USER}:user:{HOME}:/bin/bash\n")
    return users


@contextmanager
def lab(
    folder: Path,
    told: Mapping[str, str],
    node: str = "",
    *,
    user: str = "user",
    environment: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """The address of a notebook server that was started as a session is, without a hub.

    Args:
        folder: Of this server alone, in which `log` is what it says.
        told: What the hub would tell a session of its cluster, by names of files; they are in `cluster`.
        node: The address of the session's machine, where drivers are reached by that.
        user: Whose session it is.
        environment: Further variables that the hub gives it.
    """
    (port,) = free_ports(1)
    cluster = folder / "cluster"
    cluster.mkdir()
    for name, text in told.items():
        (cluster / name).write_text(text)
    arguments = ["--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--no-browser"]
    # What a pod's own file of hosts says, in which setup.sh looks for it.
    own = "bindAddress" if node else "host"
    address = f"echo spark.driver.{own} 127.0.0.1 >> /tmp/spark-conf/spark-defaults.conf"
    begin = f'cd; . "$CYGNET_VIEW/setup.sh"; . "$CYGNET_SPARK/setup.sh"; {address}; exec jupyter-lab "$@"'
    with image_root.running(
        "session",
        ["tini", "--", "sh", "-c", begin, "sh", *arguments],
        data=folder / "home",
        inside=HOME,
        log=folder / "log",
        environment={
            **ENVIRONMENT,
            "HOME": HOME,
            "SHELL": "/bin/bash",
            "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",  # noqa: S108 - the image's own
            "CYGNET_VIEW": VIEW,
            "CYGNET_SPARK": SPARK,
            "CYGNET_CLUSTER": CLUSTER,
            "SPARK_CLUSTER_NAME": "here",
            **({"CYGNET_NODE": node} if node else {}),
            **(environment or {}),
        },
        beside={**software(), cluster: CLUSTER, known_user(folder, user): USERS},
        knows_itself=bool(node),
    ) as process:
        url = f"http://127.0.0.1:{port}"

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            return ask(url, "GET", "api").ok

        until(answers, "the server answers", seconds=60, through=requests.RequestException)
        yield url


@contextmanager
def kernel(url: str) -> Iterator[Kernel]:
    """A kernel that no page knows of; it ends with the block, whatever came of it."""
    identity = ask(url, "POST", "api/kernels", json={"name": "python3"}).json()["id"]
    made = Kernel(f"{url}/api/kernels/{identity}", TOKEN, "")
    try:
        yield made
    finally:
        made.close()
        ask(url, "DELETE", f"api/kernels/{identity}")


def connected(kernel: Kernel, more: str = "") -> str:
    """Starts a driver, with further words for its builder; gives the cluster's name of it."""
    return kernel.run(CONNECT.format(more=more), seconds=300).split()[-1]


def ask(url: str, method: str, path: str, *, token: str = TOKEN, **options: Any) -> requests.Response:
    """What the notebook server answers to who has that token."""
    headers = {"Authorization": f"token {token}"} if token else {}
    with requests.Session() as http:
        http.trust_env = False
        return http.request(method, f"{url}/{path}", headers=headers, timeout=30, allow_redirects=False, **options)


def settings_file(settings: Mapping[str, Any]) -> str:
    """Settings of Spark, as its files have them."""
    return "".join(f"{key} {value}\n" for key, value in settings.items())


def executors(application: str) -> list[int]:
    """The processes of this computer that are executors of a driver, whatever starts them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if application in words and any(word.endswith(_BACKEND) for word in words):
            found.append(int(process.name))
    return found


def assert_same_model(kernel: Kernel, kind: str) -> None:
    """The pipeline of the tutorials ends in the model in which it ends without a cluster of that kind.

    It is the notebook that users with a cluster find in their home; its events are the same wherever they are made.
    """
    areas = {}
    for name, master in ((kind, ""), ("local", "--master local[2] ")):
        kernel.run(f"import os; os.environ['PYSPARK_SUBMIT_ARGS'] = {master!r} + os.environ['PYSPARK_SUBMIT_ARGS']")
        ran = run_notebook(kernel, "pipeline.ipynb", folder="tutorials-spark", seconds=500, cell_seconds=400)
        kernel.run(CLEAN)
        assert (ran.failure, ran.errors, ran.not_run) == ("", [], []), ran.text
        areas[name] = re.findall(r"area: model (0\.\d+), .*, search (0\.\d+)", ran.text)
        print(name, ran.seconds, areas[name])
    assert areas[kind]
    assert areas[kind] == areas["local"]

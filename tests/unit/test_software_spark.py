"""Spark beside releases: what is taken of its package, and that drivers and executors have the very same folders."""

import array
import io
import pickle
import re
import runpy
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from cygnet_hub import yarn

from engine import cache
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress
from software import spark
from software.releases import RELEASES

SAYS = """#!/bin/sh
for word; do echo "$word"; done
echo "HOME=$HOME CLUSTER=${CYGNET_CLUSTER:-none} PYTHONPATH=$PYTHONPATH"
"""
EXECUTOR = {
    "SPARK_EXECUTOR_MEMORY": "600m", "SPARK_DRIVER_URL": "spark://driver", "SPARK_EXECUTOR_ID": "3",
    "SPARK_EXECUTOR_CORES": "1", "SPARK_APPLICATION_ID": "app", "SPARK_EXECUTOR_POD_IP": "10.0.0.9",
    "SPARK_RESOURCE_PROFILE_ID": "0", "SPARK_EXECUTOR_POD_NAME": "exec-3", "SPARK_JAVA_OPT_0": "-Da=b c",
    "SPARK_JAVA_OPT_1": "-Dd=e",
}  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Spark's folder behind a link, as sessions are told of it, beside a view; Java says what it was given."""
    folder = tmp_path / "spark-0123456789ab"
    (folder / "java/bin").mkdir(parents=True)
    for name in spark._SCRIPTS:
        shutil.copy(spark.FOLDER / name, folder)
    shutil.copytree(spark.FOLDER / "executors", folder / "executors")
    java = folder / "java/bin/java"
    java.write_text(SAYS)
    java.chmod(0o755)
    (tmp_path / "spark").symlink_to(folder.name)
    (tmp_path / "view").mkdir()
    (tmp_path / "view/setup.sh").write_text('export VIEW_WAS_SOURCED=yes CYGNET_VIEW="$CYGNET_VIEW"\n')
    cluster = tmp_path / "cluster"
    cluster.mkdir()
    (cluster / "spark-defaults.conf").write_text("spark.master k8s://here\nspark.jars @CYGNET_SPARK@/a.jar\n")
    (cluster / "sparkconnector_bundles.json").write_text("{}")
    return tmp_path


def sourced(tree: Path, shell: str, command: str, **variables: str) -> str:
    """What a command prints after setup.sh, twice, in a shell."""
    twice = '. "$CYGNET_SPARK/setup.sh"; . "$CYGNET_SPARK/setup.sh"; '
    environment = {"PATH": "/usr/bin:/bin", "CYGNET_SPARK": f"{tree}/spark", "CYGNET_VIEW": f"{tree}/view", **variables}
    return subprocess.run(
        [shell, "-euc", twice + command], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_a_session_has_what_is_behind_the_link(tree: Path, shell: str) -> None:
    said = sourced(tree, shell, 'echo "$CYGNET_SPARK $JAVA_HOME $PYTHONPATH $PATH"', PYTHONPATH="/other")
    folder = tree / "spark-0123456789ab"
    assert said == f"{folder} {folder}/java {folder}/python:/other /usr/bin:/bin:{folder}/bin"


def test_a_driver_tells_its_executors_what_it_has_itself(tree: Path) -> None:
    said = sourced(tree, "sh", 'cat "$SPARK_CONF_DIR/spark-defaults.conf"', CYGNET_CLUSTER=f"{tree}/cluster")
    lines = dict(line.split(" ", 1) for line in said.splitlines())
    assert lines["spark.master"] == "k8s://here"
    assert lines["spark.jars"] == f"{tree}/spark-0123456789ab/a.jar"
    assert lines["spark.executorEnv.CYGNET_VIEW"] == f"{tree}/view"
    assert lines["spark.executorEnv.CYGNET_SPARK"] == f"{tree}/spark-0123456789ab"
    assert lines["spark.driver.host"]


@pytest.mark.parametrize("is_full", [False, True])
def test_a_driver_starts_also_where_it_can_leave_no_history(tree: Path, is_full: bool) -> None:
    folder = tree / "home/history"
    if is_full:
        (tree / "home").touch()
    told = f"spark.eventLog.enabled true\nspark.eventLog.dir file://{folder}\n"
    (tree / "cluster/spark-defaults.conf").write_text(told)
    said = sourced(tree, "sh", 'cat "$SPARK_CONF_DIR/spark-defaults.conf"', CYGNET_CLUSTER=f"{tree}/cluster")
    assert ("spark.eventLog.enabled true" in said.splitlines()) is not is_full
    assert folder.is_dir() is not is_full


def test_only_a_session_with_a_cluster_has_pages_for_it_in_jupyterlab(tree: Path) -> None:
    ask = 'echo "${JUPYTER_PATH:-none} ${JUPYTER_CONFIG_PATH:-none}"'
    assert sourced(tree, "sh", ask, JUPYTER_PATH="/other") == "/other none"
    found = sourced(tree, "sh", ask, JUPYTER_PATH="/other", CYGNET_CLUSTER=f"{tree}/cluster")
    pages, settings = found.split()
    assert pages == f"/other:{tree}/spark-0123456789ab/share/jupyter"
    assert Path(settings, "serverconfig/sparkconnector_bundles.json").read_text() == "{}"


def executor(tree: Path, passwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs start-executor, whose file of users is elsewhere here."""
    script = tree / "spark-0123456789ab/start-executor"
    script.write_text(script.read_text().replace("/var/lib/extrausers/passwd", str(passwd)))
    environment = {
        "PATH": "/usr/bin:/bin", "USER": "ada", "HOME": str(tree), "CYGNET_VIEW": f"{tree}/view",
        "CYGNET_SPARK": str(script.parent), "CYGNET_CLUSTER": "/etc/of/the/driver", **EXECUTOR, **variables,
    }  # fmt: skip
    return subprocess.run([script, "executor"], env=environment, capture_output=True, text=True, check=False)


def test_an_executor_starts_as_its_driver_says(tree: Path, tmp_path: Path) -> None:
    done = executor(tree, tmp_path / "passwd")
    assert done.returncode == 0, done.stderr
    *words, last = done.stdout.splitlines()
    # Options with blanks stay one word each, and come first.
    assert words[:4] == ["-Da=b c", "-Dd=e", "-Xms600m", "-Xmx600m"]
    assert words[words.index("--driver-url") + 1] == "spark://driver"
    assert words[words.index("--podName") + 1] == "exec-3"
    assert f"HOME={tree} CLUSTER=none PYTHONPATH={tree}/spark-0123456789ab/python" in last
    assert (tmp_path / "passwd").read_text().startswith("ada:x:")


@pytest.mark.parametrize("missing", ["CYGNET_VIEW", "HOME"])
def test_an_executor_without_what_its_driver_has_ends_and_says_so(tree: Path, tmp_path: Path, missing: str) -> None:
    done = executor(tree, tmp_path / "passwd", **{missing: f"{tree}/stable-gone"})
    assert done.returncode == 1
    assert "executor refused: " in done.stderr
    assert f"{tree}/stable-gone" in done.stderr


def workers_executor(tree: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs what a standalone worker runs as Java, with the worker's own variables."""
    folder = tree / "spark-0123456789ab"
    (folder / "python/pyspark").mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": "/usr/bin:/bin", "CYGNET_VIEW": f"{tree}/view", "CYGNET_SPARK": str(folder), "HOME": str(tree),
        "SPARK_HOME": f"{folder}/python/pyspark", "CYGNET_REFUSED_SECONDS": "0", **variables,
    }  # fmt: skip
    command = [str(folder / "executors/bin/java"), "-Da=b c", "Backend"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_executor_of_a_worker_has_its_drivers_software(tree: Path) -> None:
    done = workers_executor(tree)
    assert done.returncode == 0, done.stderr
    *words, last = done.stdout.splitlines()
    assert words == ["-Da=b c", "Backend"]
    assert f"PYTHONPATH={tree}/spark-0123456789ab/python" in last


def test_an_executor_of_a_worker_with_another_spark_ends_and_says_so(tree: Path) -> None:
    (tree / "spark-former/python/pyspark").mkdir(parents=True)
    done = workers_executor(tree, SPARK_HOME=f"{tree}/spark-former/python/pyspark")
    assert done.returncode == 1
    assert "executor refused: The driver has Spark of" in done.stderr
    assert "spark-former" in done.stderr
    assert workers_executor(tree, CYGNET_VIEW="/cvmfs/gone").returncode == 1


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_driver_of_another_spark_than_its_clusters_ends_and_says_so(tree: Path, is_replaced: bool) -> None:
    (tree / "cluster/daemons").write_text(f"{tree}/spark")
    start = (
        'CYGNET_CLUSTER="$CYGNET_CLUSTER" bash -euc \'. "$SPARK_CONF_DIR/spark-env.sh"; echo starts\' 2>&1 || echo ends'
    )
    replace = f"ln -sfn spark-new {tree}/spark; " if is_replaced else ""
    (tree / "spark-new").mkdir()
    said = sourced(tree, "sh", replace + start, CYGNET_CLUSTER=f"{tree}/cluster")
    assert ("Spark refused: the cluster's Spark was replaced" in said) is is_replaced
    assert said.endswith("ends" if is_replaced else "starts")


@pytest.mark.parametrize(
    ("asks", "has", "words", "is_refused"),
    [
        ("kerberos", "false", "org.apache.spark.deploy.SparkSubmit pyspark-shell", True),
        ("kerberos", "true", "org.apache.spark.deploy.SparkSubmit pyspark-shell", False),
        ("kerberos", "false", "org.apache.spark.deploy.SparkSubmit --conf spark.master=local[2] pyspark-shell", False),
        ("kerberos", "false", "--master local", False),
        ("kerberos", "false", "org.apache.spark.deploy.history.HistoryServer", False),
        ("simple", "false", "org.apache.spark.deploy.SparkSubmit pyspark-shell", False),
    ],
)
def test_a_driver_for_a_hadoop_with_kerberos_needs_a_ticket(
    tree: Path, asks: str, has: str, words: str, is_refused: bool
) -> None:
    (tree / "cluster/core-site.xml").write_text(yarn.xml({"hadoop.security.authentication": asks}))
    (tree / "bin").mkdir()
    (tree / "bin/klist").symlink_to(f"/bin/{has}")
    start = '(. "$SPARK_CONF_DIR/spark-env.sh"; echo starts) 2>&1 || echo ends'
    said = subprocess.run(
        ["bash", "-euc", start, "spark-class", *words.split()], text=True, capture_output=True, check=True,
        env={
            "PATH": f"{tree}/bin:/usr/bin:/bin", "CYGNET_CLUSTER": f"{tree}/cluster",
            "SPARK_CONF_DIR": str(spark.FOLDER), "CYGNET_SPARK": "",
        },
    ).stdout  # fmt: skip
    assert ("Sign in again" in said) is is_refused
    assert said.split()[-1] == ("ends" if is_refused else "starts")


def test_a_daemon_knows_when_its_spark_was_replaced(tree: Path) -> None:
    script = tree / "spark-0123456789ab/start-daemon"
    script.write_text(re.sub("^runs=.*", f"runs={tree}/runs", script.read_text(), flags=re.MULTILINE))
    program = tree / "spark-0123456789ab/python/pyspark/bin/spark-class"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$@"\n')
    program.chmod(0o755)
    environment = {
        "PATH": "/usr/bin:/bin", "CYGNET_SPARK": f"{tree}/spark", "CYGNET_ADDRESS": "10.0.0.9",
        "CYGNET_DAEMON": "/told/daemon.conf",
    }  # fmt: skip

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *arguments], env=environment, capture_output=True, text=True, check=False)

    started = run("worker", "--port=7078")
    assert started.stdout.split() == [
        "org.apache.spark.deploy.worker.Worker", "--host", "10.0.0.9", "--properties-file", "/told/daemon.conf",
        "--port=7078",
    ], started.stderr  # fmt: skip
    assert run("same").returncode == 0
    (tree / "spark").unlink()
    (tree / "spark").symlink_to("spark-new")
    (tree / "spark-new").mkdir()
    assert run("same").returncode == 1
    assert run("other").returncode == 2


def test_a_key_is_that_of_the_content_and_releases_have_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(spark.FOLDER, tmp_path / "spark")
    first, release = spark.key(), RELEASES["stable"].key
    monkeypatch.setattr(spark, "FOLDER", tmp_path / "spark")
    assert spark.key() == first
    (tmp_path / "spark/setup.sh").write_text("")
    assert spark.key() != first
    assert RELEASES["stable"].key == release


def test_of_sparks_package_jars_and_python_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    _archive(wheels / "pyspark-4.3.0.tar.gz", *(
        f"pyspark-4.3.0/{name}" for name in (
            "PKG-INFO", "LICENSE", "pyspark/sql.py", "deps/bin/spark-submit", "deps/jars/core.jar",
            "deps/licenses/LICENSE-a", "deps/examples/pi.py",
        )
    ))  # fmt: skip
    _archive(wheels / "pyspark-4.2.0.tar.gz", "pyspark-4.2.0/PKG-INFO")  # of a former release
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"pyspark==4.3.0 --hash=sha256:{cache.digest(wheels / 'pyspark-4.3.0.tar.gz')}\n")
    monkeypatch.setattr(spark, "LOCK", lock)
    monkeypatch.setattr(Runner, "run", lambda *_: None)  # pip has brought them
    run = Runner("spark", tmp_path / "log", Progress())
    spark._python(tmp_path / "tree/python", wheels, run, Progress())
    found = {str(file.relative_to(tmp_path / "tree")) for file in (tmp_path / "tree").rglob("*") if file.is_file()}
    assert found == {
        "python/pyspark/sql.py", "python/pyspark/bin/spark-submit", "python/pyspark/jars/core.jar",
        "python/pyspark/licenses/LICENSE-a", "python/pyspark-4.3.0.dist-info/METADATA",
        "python/pyspark-4.3.0.dist-info/LICENSE",
    }  # fmt: skip


def test_of_cerns_packages_the_pages_of_jupyterlab_and_the_kernels_half_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "sparkmonitor-3.3.0-py3-none-any.whl"
    pages = "share/jupyter/labextensions/sparkmonitor/package.json"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in (
            "kernelextension.py", "listener_spark3_2.13.jar", "listener_spark4_2.13.jar", "nbextension/extension.js",
            "labextension/package.json",
        ):  # fmt: skip
            archive.writestr(f"sparkmonitor/{name}", "")
        archive.writestr(f"sparkmonitor-3.3.0.data/data/{pages}", "")
        archive.writestr("sparkmonitor-3.3.0.data/data/etc/jupyter/jupyter_server_config.d/a.json", "")
        archive.writestr("sparkmonitor-3.3.0.dist-info/METADATA", "")
    lock = tmp_path / "requirements.lock"
    lock.write_text(f"sparkmonitor==3.3.0 \\\n    --hash=sha256:{cache.digest(wheel)}\n")
    monkeypatch.setattr(spark, "LOCK", lock)
    monkeypatch.setattr(Runner, "run", lambda *_: None)
    (tmp_path / "tree/python/pyspark/jars").mkdir(parents=True)
    run = Runner("spark", tmp_path / "log", Progress())
    spark._python(tmp_path / "tree/python", wheels, run, Progress())
    found = {str(file.relative_to(tmp_path / "tree")) for file in (tmp_path / "tree").rglob("*") if file.is_file()}
    assert found == {
        pages, "python/pyspark/jars/listener_spark4_2.13.jar", "python/sparkmonitor/kernelextension.py",
        "python/sparkmonitor/listener_spark4_2.13.jar",
        "python/sparkmonitor-3.3.0.dist-info/METADATA",
    }  # fmt: skip


def test_arrays_are_sent_to_executors_where_all_is_encrypted(tmp_path: Path) -> None:
    (tmp_path / "pyspark").mkdir()
    file = tmp_path / "pyspark/serializers.py"
    file.write_text("def write(bytes):\n    byte_remaining = len(bytes)\n    return byte_remaining, bytes[1:3]\n")
    spark.mend(tmp_path)
    written = runpy.run_path(str(file))["write"]
    assert written(b"abcd") == (4, b"bc")
    count, part = written(pickle.PickleBuffer(array.array("H", [1, 2, 3])))
    assert (count, len(part)) == (6, 2)
    file.write_text("")
    with pytest.raises(EngineError, match="stands there 0 times"):
        spark.mend(tmp_path)


def _archive(file: Path, *names: str) -> None:
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())

"""Spark and its Java, beside the views of releases: made once, published where a stack has clusters for Spark.

<root>/software/spark-<key>/     what is published as the folder `spark` of a repository
    setup.sh                     to be sourced after a view's own
    start-executor               what executors run that are pods
    start-daemon                 what a standalone cluster runs: its master and its workers
    executors/bin/java           what such workers run as Java for an executor: with the software of its driver
    tutorials/                   given to who has such a session for the first time
    python/                      pyspark, with Spark's jars in it, py4j, and the kernel's half of CERN's extensions
    share/jupyter/labextensions  the other half: SparkConnector and SparkMonitor in JupyterLab
    java/                        Debian's headless Java; PyPI's lacks a module that Spark asks for

It is no part of a view: whoever has no such cluster has nothing of it, and views stay what they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import time
from pathlib import Path

from engine import cache
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress
from images import catalogue
from images.catalogue import LEFT_BY_PYTHON
from images.context import PYTHON, Apt
from software import view
from software.container import container

NAME = "spark"
FOLDER = Path(__file__).with_name("apache-spark")
LOCK = FOLDER / "requirements.lock"
# Spark 4.3 runs with 17 and 21; Debian's newest release has this one.
_JAVA = "openjdk-21-jre-headless"
_JAVA_HOME = "/usr/lib/jvm/java-21-openjdk-amd64"
# Where sessions come from.
_IMAGE = "base"
# Of what Spark's package has beside Python: the rest are examples, and scripts for daemons.
_TAKEN = ("bin", "jars", "licenses")
# Of CERN's packages: the former notebook's pages, a second copy of JupyterLab's, and listeners for Spark 3.
_LEFT_OUT = ("*/nbextension", "*/labextension", "*/listener_spark3_*.jar")
_EXTENSION = ("cygnet_spark.py", "cygnet_spark_connector.py")
_SCRIPTS = ("setup.sh", "spark-env.sh", "as-the-driver.sh", "start-executor", "start-daemon")
_PROGRAMS = ("pyspark", "spark-shell", "spark-sql", "spark-submit")
# Of Spark's Python, what is mended: where it encrypts, it does not send large arrays to executors, as pickle hands them
# over as a buffer, which has no length and no parts before it is looked at as bytes.
_MENDED = "pyspark/serializers.py"
_IS, _OUGHT = "byte_remaining = len(bytes)", 'bytes = memoryview(bytes).cast("B"); byte_remaining = len(bytes)'
# To be raised when this makes something else of the same inputs.
_METHOD = 2


def key() -> str:
    """Twelve hexadecimal digits that stand for what decides what is in the folder, but for Debian's own corrections."""
    files = sorted(file for file in FOLDER.rglob("*") if file.is_file() and LEFT_BY_PYTHON not in file.parts)
    inputs = [_METHOD, PYTHON, _JAVA, catalogue.fingerprint(_IMAGE)]
    inputs += [(str(file.relative_to(FOLDER)), os.access(file, os.X_OK), cache.digest(file)) for file in files]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[: cache.KEY_LENGTH]


def place() -> Path:
    """Where it is once it was built."""
    return cache.root() / "software" / f"{NAME}-{key()}"


def build(workshop: Path, wheels: Path, progress: Progress) -> None:
    """Makes the folder, in `workshop` until it is complete. Raises EngineError.

    Args:
        workshop: An empty folder on the file system of the views.
        wheels: Where packages are as they were downloaded.
        progress: Where to tell what happens.
    """
    progress.begin(NAME)
    started = time.monotonic()
    run = Runner(NAME, cache.root() / "logs" / f"software-{NAME}.log", progress)
    tree = workshop / NAME
    _python(tree / "python", wheels, run, progress)
    mend(tree / "python")
    for program in _PROGRAMS:
        (tree / "bin").mkdir(exist_ok=True)
        (tree / "bin" / program).symlink_to(f"../python/pyspark/bin/{program}")
    for name in _SCRIPTS:
        shutil.copy(FOLDER / name, tree)
    for name in ("executors", "tutorials"):
        shutil.copytree(FOLDER / name, tree / name)
    for name in _EXTENSION:
        shutil.copy(FOLDER / name, tree / "python")
    _java(tree, workshop / "apt", run, progress)
    progress.at("finish")
    view.mark(tree)
    view.settle(tree)
    tree.rename(place())
    progress.say(f"{NAME} {key()}: built, {time.monotonic() - started:.0f} s")


def _python(packages: Path, wheels: Path, run: Runner, progress: Progress) -> None:
    """What the lock names. Of Spark there is a source package only; to build it is to move its folders."""
    argv = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download", "--require-hashes"]
    run.run("packages", [*argv, "--no-deps", f"--requirement={LOCK}", f"--dest={wheels}", "--progress-bar=off"])
    lock = LOCK.read_text(encoding="utf-8")
    names, wanted = re.findall(r"^(\w+)==", lock, re.MULTILINE), set(re.findall(r"--hash=sha256:(\w+)", lock))
    packages.mkdir(parents=True, exist_ok=True)
    progress.at("unpack")
    for file in (file for name in names for file in wheels.glob(f"{name}-*")):
        if cache.digest(file) not in wanted:
            continue
        if file.suffix == ".whl":
            shutil.unpack_archive(file, packages, "zip")
            continue
        source = packages.with_name("source")
        shutil.unpack_archive(file, source, filter="data")
        (inner,) = source.iterdir()
        (inner / "pyspark").rename(packages / "pyspark")
        for folder in _TAKEN:
            (inner / "deps" / folder).rename(packages / "pyspark" / folder)
        # So that pip knows of it, and does not bring it again into a home.
        about = packages / f"{inner.name}.dist-info"
        about.mkdir()
        (inner / "PKG-INFO").rename(about / "METADATA")
        (inner / "LICENSE").rename(about / "LICENSE")
        shutil.rmtree(source)
    _share(packages)


def mend(packages: Path) -> None:
    """Mends what is wrong in Spark's own Python. Raises EngineError where that is another one than it was seen in."""
    file = packages / _MENDED
    text = file.read_text(encoding="utf-8")
    if text.count(_IS) != 1:
        raise EngineError(
            "Spark's Python is another one than the one that is mended here",
            where=str(file),
            why=f"'{_IS}' stands there {text.count(_IS)} times, not once",
            cure=f"look whether arrays are sent where all is encrypted, and change or remove {__name__}.mend",
        )
    file.write_text(text.replace(_IS, _OUGHT), encoding="utf-8")


def _share(packages: Path) -> None:
    """Puts what wheels have for others than Python beside the packages, and takes away what nobody asks for."""
    for folder in list(packages.glob("*.data")):
        if (shared := folder / "data" / "share").is_dir():
            shutil.copytree(shared, packages.with_name("share"), dirs_exist_ok=True)
        shutil.rmtree(folder)
    for superfluous in [path for pattern in _LEFT_OUT for path in packages.glob(pattern)]:
        shutil.rmtree(superfluous) if superfluous.is_dir() else superfluous.unlink()
    # Among Spark's own, so that it is found whatever a user says of class paths.
    for listener in list(packages.glob("sparkmonitor/*.jar")):
        listener.rename(packages / "pyspark" / "jars" / listener.name)
        listener.symlink_to(f"../pyspark/jars/{listener.name}")


def _java(tree: Path, settings: Path, run: Runner, progress: Progress) -> None:
    """Debian's Java, in a folder from which it finds its own things; and Python's bytecode, as views have it."""
    apt = Apt.of_this_computer(settings, catalogue.find(_IMAGE).suite)
    copied = f"cp -rL {_JAVA_HOME} /tree/java && cp /usr/share/doc/{_JAVA}/copyright /tree/java/"
    with container(_IMAGE, {tree: "/tree"}, run, progress, apt.volumes()) as inside:
        # Its package makes links to its pages of the manual, of which images have none.
        inside("make room for the manual", ["mkdir", "-p", "/usr/share/man/man1"])
        inside("install Java", ["install-packages", _JAVA])
        inside("take Java", ["sh", "-c", copied])
        compiled = ["env", "PYTHONHASHSEED=0", "python3", "-m", "compileall", "-q", "-j0"]
        inside("compile", [*compiled, "--invalidation-mode=unchecked-hash", "/tree/python"])

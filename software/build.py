"""Builds the views of releases and keeps them in the cache, each made once for its key.

<root>/software/<name>-<key>/    a view, complete or not there
<root>/software/debian-<key>/    R and Octave, a part of all views: see software.languages
<root>/software/spark-<key>/     Spark and its Java, beside the views: see software.spark
<root>/software/wheels/          packages as they were downloaded, for all releases
<root>/software/.objects/        what was published of them, compressed: see software.known
<root>/software/.building/       work in progress; what a killed run left is removed by the next one
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from engine import cache
from engine.process import Runner
from engine.progress import Progress, Row
from images.context import wheels_for_images
from software import known, languages, spark, view
from software.container import container
from software.releases import RELEASES, Release, find, key

__all__ = ["RELEASES", "ensure", "ensure_all", "ensure_spark", "key", "megabytes", "trim"]

WHEELS = "wheels"


def ensure(name: str, progress: Progress | None = None) -> Path:
    """The view of a release; built when it is not there. Raises EngineError."""
    release = find(name)
    if not release.view.is_dir():
        _build(release, progress or Progress())
    return release.view


def ensure_spark(progress: Progress) -> Path:
    """Spark and its Java; built when they are not there. Raises EngineError."""
    if not spark.place().is_dir():
        with _lock(spark.NAME, progress):
            if not spark.place().is_dir():
                with _workshop() as workshop:
                    spark.build(workshop, cache.root() / "software" / WHEELS, progress)
    return spark.place()


def ensure_all(names: Iterable[str], progress: Progress) -> list[Row]:
    """Several views (all when none is named), with a line for the summary each. Raises EngineError."""
    wanted = {find(name).name for name in names} or set(RELEASES)
    return [_row(release, progress) for name, release in RELEASES.items() if name in wanted]


def trim(progress: Progress) -> None:
    """Removes views that today's files would not make, wheels that no release names, and objects that no store has.

    Raises EngineError.
    """
    progress.begin("trim")
    folder = cache.root() / "software"
    with _lock("nothing, it removes", progress):
        kept = {folder / WHEELS, languages.place(), spark.place(), *(release.view for release in RELEASES.values())}
        views = [view for view in folder.glob("[!.]*") if view.is_dir() and view not in kept]
        files = [languages.LOCK, spark.LOCK, *(release.lock for release in RELEASES.values())]
        locks = "".join(lock.read_text(encoding="utf-8") for lock in files)
        named = set(re.findall(r"--hash=sha256:(\w+)", locks))
        wheels = [wheel for wheel in (folder / WHEELS).glob("*") if cache.digest(wheel) not in named]
        for superfluous in sorted(views + wheels):
            progress.say(f"removing {superfluous}")
            shutil.rmtree(superfluous) if superfluous.is_dir() else superfluous.unlink()
        progress.say(f"removed {known.trim() / 1e6:.0f} MB of objects that no repository has")


def megabytes(release: Release) -> float:
    """The size of a view's files."""
    return sum(file.lstat().st_size for file in release.view.rglob("*") if not file.is_dir()) / 1e6


def _row(release: Release, progress: Progress) -> Row:
    started = time.monotonic()
    source = "cached" if release.view.is_dir() else "built"
    ensure(release.name, progress)
    return Row(release.name, release.key, source, time.monotonic() - started, megabytes(release))


def _build(release: Release, progress: Progress) -> None:
    progress.begin(release.name)
    started = time.monotonic()
    with _lock(release.name, progress):
        if release.view.is_dir():
            return
        run = Runner(release.name, cache.root() / "logs" / f"software-{release.name}.log", progress)
        with _workshop() as workshop:
            taken = languages.ensure(workshop, progress)
            progress.begin(release.name)
            tree = workshop / "view"
            _install([release.lock, languages.LOCK], workshop / "installed", run)
            view.arrange(workshop / "installed", tree)
            view.complete(tree, release.prewarm)
            languages.add(taken, tree)
            _compile(tree, run, progress)
            progress.at("finish")
            view.check_prewarm(tree)
            view.mark(tree)
            view.settle(tree)
            tree.rename(release.view)
    seconds = time.monotonic() - started
    progress.say(f"{release.name} {release.key}: built, {megabytes(release):.0f} MB, {seconds:.0f} s")


def _install(locks: Iterable[Path], target: Path, run: Runner) -> None:
    """What the locks name, for the Python of the sessions and not for the one that runs this."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    chosen = [*wheels_for_images(), "--progress-bar=off", *(f"--requirement={lock}" for lock in locks)]
    wheels = cache.root() / "software" / WHEELS
    run.run("wheels", [*pip, "download", *chosen, f"--dest={wheels}"])
    local = ["--no-index", f"--find-links={wheels}", "--no-compile", "--no-warn-script-location"]
    # Else it asks about the Python that runs it; the lock was written under the right one.
    local += ["--ignore-requires-python"]
    run.run("install", [*pip, "install", *chosen, *local, f"--target={target}"])


def _compile(tree: Path, run: Runner, progress: Progress) -> None:
    """Python's bytecode, by the Python of the sessions: nobody can write it into a mounted view later.

    It is not compared with its source, whose times some clients may not keep; a view never changes.
    """
    for folder in tree.rglob("__pycache__"):
        shutil.rmtree(folder)
    packages = [f"/view/{folder}" for folder in (view.SITE_PACKAGES, view.STARTUP)]
    # Without a seed, sets are written in another order each time.
    argv = ["env", "PYTHONHASHSEED=0", "python3", "-m", "compileall", "-q", "-j0"]
    argv += ["--invalidation-mode=unchecked-hash", *packages]
    with container("base", {tree: "/view"}, run, progress) as inside:
        inside("compile", argv)


def _lock(piece: str, progress: Progress) -> AbstractContextManager[None]:
    return cache.lock("software", piece, lambda other: progress.at(f"waiting for another run, at {other}"))


@contextmanager
def _workshop() -> Iterator[Path]:
    """An empty folder, on the file system of the views; it is gone afterwards."""
    workshop = cache.root() / "software" / ".building"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir(parents=True)
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)

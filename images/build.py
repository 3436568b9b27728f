"""Builds images with buildah and keeps them as OCI layouts in the cache, each made once for its fingerprint.

<root>/images/<name>-<fingerprint>/    an image, complete or not there
<root>/images/.building/               work in progress; what a killed run left is removed by the next one
<root>/images/.storage/                buildah's layers: a killed or changed build goes on from the last good one
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from engine import cache
from engine.process import Runner
from engine.progress import Progress, Row
from images import catalogue
from images.catalogue import Image
from images.context import Apt, assemble


def ensure(name: str, progress: Progress | None = None) -> Path:
    """The image's OCI layout; built, after its parents, when it is not there. Raises EngineError."""
    image = catalogue.find(name)
    if not present(image):
        _build(image, progress or Progress())
    return image.layout


def ensure_all(names: Iterable[str], progress: Progress) -> list[Row]:
    """Several images (all when none is named), with a line for the summary each. Raises EngineError."""
    wanted = {catalogue.find(name).name for name in names} or set(catalogue.images())
    return [_row(image, progress) for name, image in catalogue.images().items() if name in wanted]


def trim(progress: Progress) -> None:
    """Removes images that today's files would not make, and buildah's layers. Raises EngineError."""
    progress.begin("trim")
    current = {image.layout for image in catalogue.images().values()}
    with _lock("nothing, it removes", progress):
        run = Runner("trim", cache.root() / "logs" / "image-trim.log", progress)
        with _workshop() as workshop:
            buildah = _buildah(workshop)
            run.run("clear what a killed run left", [*buildah, "rm", "--all"])
            run.run("layers", [*buildah, "rmi", "--all", "--force"])
        for folder in sorted(_root().glob("[!.]*")):
            if folder not in current:
                progress.say(f"removing {folder}")
                shutil.rmtree(folder)


def megabytes(image: Image) -> float:
    """The size of an image's layout: its own layers and its parents', as they are sent to a registry."""
    return sum(file.stat().st_size for file in image.layout.rglob("*") if file.is_file()) / 1e6


def present(image: Image) -> bool:
    """Whether it was built, complete."""
    return image.layout.is_dir()


def _row(image: Image, progress: Progress) -> Row:
    started = time.monotonic()
    source = "cached" if present(image) else "built"
    ensure(image.name, progress)
    return Row(image.name, catalogue.tag(image.name), source, time.monotonic() - started, megabytes(image))


def _build(image: Image, progress: Progress) -> None:
    parents = {parent: ensure(parent, progress) for parent in image.parents}
    progress.begin(image.name)
    started = time.monotonic()
    with _lock(image.name, progress):
        if present(image):
            return
        run = Runner(image.name, cache.root() / "logs" / f"image-{image.name}.log", progress)
        with _workshop() as workshop:
            apt = Apt.of_this_computer(workshop / "apt", image.suite)
            assemble(image, workshop / "context", apt, run, progress)
            _containerfile(image, parents, workshop, apt, run)
            (workshop / "layout").rename(image.layout)
    seconds = time.monotonic() - started
    progress.say(f"{image.name} {catalogue.tag(image.name)}: built, {megabytes(image):.0f} MB, {seconds:.0f} s")


def _containerfile(image: Image, parents: dict[str, Path], workshop: Path, apt: Apt, run: Runner) -> None:
    buildah = _buildah(workshop)
    run.run("clear what a killed run left", [*buildah, "rm", "--all"])
    for parent, layout in parents.items():
        taken = f"containers-storage:[{_root() / '.storage'}+{workshop / 'run'}]localhost/cygnet/{parent}:latest"
        run.run(f"take {parent}", ["skopeo", "copy", "--quiet", f"oci:{layout}", taken])
    build = [*buildah, "build", "--layers", "--pull-never", "--isolation=chroot", "--network=host", "--no-hosts"]
    run.run("build", [*build, *apt.volumes(), f"--tag=cygnet/{image.name}", str(workshop / "context")])
    # Of the three that containerd takes, zstd is both the smallest and the fastest to unpack.
    write = [*buildah, "push", "--quiet", "--compression-format=zstd"]
    run.run("write", [*write, f"cygnet/{image.name}", f"oci:{workshop / 'layout'}"])
    run.run("clear layers of older builds", [*buildah, "rmi", "--prune"])


def _buildah(workshop: Path) -> list[str]:
    """The command, with a storage of its own: what the computer's user does with buildah is left alone."""
    return ["buildah", f"--root={_root() / '.storage'}", f"--runroot={workshop / 'run'}"]


@contextmanager
def _workshop() -> Iterator[Path]:
    """An empty folder, on the file system of the images; it is gone afterwards."""
    workshop = _root() / ".building"
    shutil.rmtree(workshop, ignore_errors=True)
    workshop.mkdir()
    try:
        yield workshop
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def _root() -> Path:
    return cache.root() / "images"


def _lock(name: str, progress: Progress) -> AbstractContextManager[None]:
    """Held while `name` is built: buildah's storage is one run's own."""
    return cache.lock("images", name, lambda other: progress.at(f"waiting for another run that builds {other}"))

"""Runs commands in one of our images, with folders of this computer mounted: where another Python is needed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import images
from engine import cache
from engine.process import Runner
from engine.progress import Progress

Run = Callable[[str, Sequence[str]], None]
"""Runs a command as the image's root: (step, argv). Raises BuildFailed."""


@contextmanager
def container(
    image: str, mounts: Mapping[Path, str], run: Runner, progress: Progress, options: Sequence[str] = ()
) -> Iterator[Run]:
    """A container of an image, built before if need be; it is gone afterwards. One at a time.

    Args:
        image: Its name, for example "base".
        mounts: Folders of this computer, and where they are in the container; it may write there.
        run: Whose log gets what is said.
        progress: Where to tell of the building of the image.
        options: Further ones of `buildah run`.

    Raises:
        EngineError: The image cannot be built or unpacked.
    """
    layout = images.ensure(image, progress)
    storage = cache.root() / "software" / ".storage"
    runroot = storage.with_name(".storage-run")
    buildah = ["buildah", f"--root={storage}", f"--runroot={runroot}"]
    if storage.exists():
        run.run("clear what a killed run left", [*buildah, "rm", "--all"])
    try:
        taken = f"containers-storage:[{storage}+{runroot}]localhost/cygnet/{image}:latest"
        run.run(f"take {image}", ["skopeo", "copy", "--quiet", f"oci:{layout}", taken])
        run.run("make a container", [*buildah, "from", "--pull-never", "--name=software", f"cygnet/{image}"])
        enter = [*buildah, "run", "--isolation=chroot", "--network=host", "--user=0:0"]
        enter += [f"--volume={here}:{there}" for here, there in mounts.items()]
        enter += options
        yield lambda step, argv: run.run(step, [*enter, "software", "--", *argv])
    finally:
        run.run("remove the container", [*buildah, "rm", "--all"])
        for folder in (storage, runroot):
            shutil.rmtree(folder, ignore_errors=True)

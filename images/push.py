"""Puts an image into a registry, with the registry's own certificate and a password that no process list shows."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from engine import cache
from engine.process import Runner
from engine.progress import Progress


def push(
    layout: Path, destination: str, *, ca_file: Path | None, authfile: Path | None, progress: Progress | None = None
) -> None:
    """Copies an OCI layout to `destination` (registry:port/name:tag), layers as they are; what is there is skipped.

    `ca_file` is the PEM certificate that the registry's own is checked against, `authfile` is in Docker's format
    ({"auths": {"registry:port": {"auth": ...}}}); None: whom this computer trusts, and as whom it is logged in. Raises
    BuildFailed.
    """
    progress = progress or Progress()
    progress.begin(layout.name)
    run = Runner(layout.name, cache.root() / "logs" / f"push-{layout.name}.log", progress)
    with tempfile.TemporaryDirectory() as certificates:
        if ca_file:
            shutil.copy(ca_file, Path(certificates) / "ca.crt")  # skopeo wants a folder
        argv = ["skopeo", "copy", "--retry-times=3", "--preserve-digests"]
        argv += [f"--dest-cert-dir={certificates}", *([f"--dest-authfile={authfile}"] if authfile else [])]
        run.run(f"push to {destination}", [*argv, f"oci:{layout}", f"docker://{destination}"])

"""The Debian packages that this computer needs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from engine.cache import root
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress
from engine.versions import PACKAGES


def ensure(*, tests: bool, progress: Progress) -> list[str]:
    """Installs those that are missing, and gives their names. Raises EngineError when it may not, or cannot."""
    wanted = [*PACKAGES["host_packages"], *(PACKAGES["test_packages"] if tests else ())]
    lacking = missing(wanted, _installed())
    if not lacking:
        progress.say(f"all {len(wanted)} Debian packages are installed")
        return []
    install = ["apt-get", "install", "-y", "--no-install-recommends", *lacking]
    if os.geteuid() != 0:
        raise EngineError(
            f"{len(lacking)} Debian packages are missing: {', '.join(lacking)}",
            where="this computer",
            why="only root may install them",
            cure=f"sudo apt-get update && sudo {' '.join(install)}",
        )
    progress.begin("host packages")
    run = Runner("host packages", root() / "logs" / "host-packages.log", progress)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    run.run("apt-get update", ["apt-get", "update"], env=environment)
    run.run(f"install {', '.join(lacking)}", install, env=environment)
    progress.say(f"installed: {', '.join(lacking)}")
    return lacking


def missing(wanted: Iterable[str], status: str) -> list[str]:
    r"""Those of `wanted` that are not installed, by dpkg-query's lines of name and status.

    >>> missing(["gcc", "skopeo", "buildah"], "gcc installed\nskopeo config-files\n")
    ['skopeo', 'buildah']
    """
    lines = set(status.splitlines())
    return [name for name in wanted if f"{name} installed" not in lines]


def _installed() -> str:
    try:
        argv = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise EngineError(
            "the installed Debian packages cannot be listed",
            where="this computer",
            why=f"dpkg-query: {error}",
            cure="use Debian or Ubuntu, or install what engine/versions.yaml lists under host_packages yourself",
        ) from error

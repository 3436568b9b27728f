"""What an image's Containerfile finds beside it: its folder, and what the computer's own package clients fetch.

Wheels, npm packages and what comes by Maven are fetched here, outside of the container, by pip, npm and mvn with the
settings of whoever builds, and are checked against the locks. Nothing of those settings is ever inside. Debian's apt
does run inside; what it needs for that is mounted while it runs (`Apt`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from engine import cache, tools
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress
from images.catalogue import LEFT_BY_PYTHON, Debian, Image

PYTHON = "3.13"
NEWEST_GLIBC = 41  # Debian trixie's is 2.41
# How old manylinux names read: those that came before the name said the version of glibc.
_OLD_NAMES = ("manylinux2014", "manylinux2010", "manylinux1", "linux")
LEFT_BY_MMDEBSTRAP = (
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/apt/sources.list",
    "etc/apt/sources.list.d/*",
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
    "var/log/*",
)
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Apt:
    """The computer's way to Debian packages, for containers and for mmdebstrap."""

    folder: Path

    @classmethod
    def of_this_computer(cls, folder: Path, suite: str) -> Apt:
        """Writes into `folder` how this computer's apt reaches Debian, for another release of it."""
        (folder / "sources").mkdir(parents=True)
        (folder / "apt.conf").mkdir()
        settings = _said(["apt-config", "dump", "Acquire"])
        targets = _said(["apt-get", "indextargets", "--format", "$(LABEL)\t$(REPO_URI)", "Created-By: Packages"])
        (folder / "sources" / "mirror.list").write_text(sources(targets, suite), encoding="utf-8")
        (folder / "apt.conf" / "network").write_text(network_settings(settings), encoding="utf-8")
        return cls(folder)

    @property
    def sources(self) -> Path:
        """A sources.list for the release."""
        return self.folder / "sources" / "mirror.list"

    @property
    def settings(self) -> Path:
        """A piece of apt.conf with proxies and the like."""
        return self.folder / "apt.conf" / "network"

    def volumes(self) -> list[str]:
        """Arguments that mount all this where a container's apt looks; every place exists in images with apt."""
        places = {
            self.folder / "sources": "/etc/apt/sources.list.d",
            self.folder / "apt.conf": "/etc/apt/apt.conf.d",
            Path("/etc/apt/auth.conf.d"): "/etc/apt/auth.conf.d",
            CA_BUNDLE: str(CA_BUNDLE),
        }
        return [f"--volume={here}:{there}:ro" for here, there in places.items() if here.exists()]


def sources(targets: str, suite: str) -> str:
    r"""A sources.list for `suite` with the mirrors of apt's index targets (lines of label and URI).

    >>> print(sources("Debian\thttp://mirror.example/debian/\nGrafana\thttp://grafana.example/", "trixie"))
    deb http://mirror.example/debian/ trixie main
    deb http://mirror.example/debian/ trixie-updates main

    Raises:
        EngineError: apt knows no mirror of Debian.
    """
    mirrors = dict(reversed([line.split("\t", 1) for line in targets.splitlines() if "\t" in line]))
    if "Debian" not in mirrors:
        raise EngineError(
            "apt knows no mirror of Debian",
            where="/etc/apt/sources.list and /etc/apt/sources.list.d",
            why="images are made of the packages of a mirror that this computer uses itself",
            cure="add a line `deb MIRROR bookworm main` there and run apt-get update",
        )
    lines = [f"deb {mirrors['Debian']} {suite} main", f"deb {mirrors['Debian']} {suite}-updates main"]
    if security := mirrors.get("Debian-Security"):
        lines.append(f"deb {security} {suite}-security main")
    return "\n".join(lines)


def network_settings(dump: str) -> str:
    r"""Of apt's settings those on proxies, certificates and clocks; files they name would not be in a container.

    >>> print(network_settings('Acquire::http::Proxy "http://proxy:3128";\nAcquire::cdrom::mount "/media/cdrom";'))
    Acquire::http::Proxy "http://proxy:3128";
    """
    wanted = re.compile(r'Acquire::((http|https|Retries|Check|ForceIPv)\S* ".+";)')
    return "\n".join(line for line in dump.splitlines() if wanted.match(line))


def assemble(image: Image, context: Path, apt: Apt, run: Runner, progress: Progress) -> None:
    """Makes `context` the folder that `image` is built from. Raises EngineError."""
    shutil.copytree(image.folder, context, symlinks=True, ignore=shutil.ignore_patterns(LEFT_BY_PYTHON))
    if image.debian:
        _debian(image.debian, context / "rootfs.tar", apt, run)
    if image.tools:
        _tools(image.tools, context / "tools", progress)
        progress.begin(image.name)
    if image.locks:
        _wheels(image.locks, context / "wheels", run)
    if image.npm_lock:
        _npm(context, run)
    if image.maven_lock:
        _maven(image.maven_lock, context / "maven", run)


def _debian(debian: Debian, target: Path, apt: Apt, run: Runner) -> None:
    excludes = [f"/usr/share/{folder}/*" for folder in ("doc", "info", "locale", "man")]
    argv = ["mmdebstrap", f"--variant={debian.variant}", f"--include={','.join(debian.packages)}"]
    # dpkg keeps these rules, for whatever is installed later.
    argv += [f"--dpkgopt=path-exclude={path}" for path in excludes]
    argv += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    argv += [f"--aptopt={apt.settings}", "--aptopt=APT::Install-Recommends false"]
    # What it was given for the build, and what it leaves behind. Where nothing is configured, this is the last hook.
    hook = "extract" if debian.variant == "extract" else "customize"
    argv += [f'--{hook}-hook=cd "$1" && rm -rf {" ".join(LEFT_BY_MMDEBSTRAP)}']
    argv += [f'--{hook}-hook=ln -s {goal} "$1"/{link}' for link, goal in debian.links.items()]
    run.run(f"Debian {debian.suite}", [*argv, debian.suite, str(target), str(apt.sources)])


def _tools(names: tuple[str, ...], target: Path, progress: Progress) -> None:
    tools.get(names, progress)
    target.mkdir()
    for name in names:
        shutil.copy2(tools.path(name), target / name)


def wheels_for_images() -> list[str]:
    """The options by which pip chooses wheels for the Python of our images, and not for the one that runs pip."""
    platforms = [f"manylinux_2_{minor}" for minor in range(NEWEST_GLIBC, 4, -1)] + list(_OLD_NAMES)
    options = ["--require-hashes", "--no-deps", "--only-binary=:all:", "--implementation=cp"]
    options += [f"--python-version={PYTHON}"]
    options += [f"--abi={abi}" for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none")]
    return options + [f"--platform={platform}_x86_64" for platform in platforms]


def _wheels(locks: tuple[Path, ...], target: Path, run: Runner) -> None:
    argv = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar=off"]
    argv += [*wheels_for_images(), f"--dest={target}"]
    for lock in locks:
        run.run(f"wheels of {lock.name}", [*argv, f"--requirement={lock}"])


def _npm(context: Path, run: Runner) -> None:
    argv = ["npm", "ci", "--ignore-scripts", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund"]
    run.run("npm packages", argv, cwd=context)


def _maven(lock: Path, target: Path, run: Runner) -> None:
    """Each line of the lock is a SHA-256 and an artifact: group, name, version and kind."""
    for line in lock.read_text(encoding="utf-8").splitlines():
        expected, artifact = line.split()
        argv = ["mvn", "--batch-mode", "--strict-checksums", "-Dtransitive=false", f"-Dartifact={artifact}"]
        run.run(f"get {artifact}", [*argv, "dependency:get"])
        run.run(f"copy {artifact}", [*argv, f"-DoutputDirectory={target}", "dependency:copy"])
        _, name, version, kind = artifact.split(":")
        file = target / f"{name}-{version}.{kind}"
        found = cache.digest(file)
        if found != expected:
            raise EngineError(
                f"{artifact} is not what it was when it was locked",
                where=str(lock),
                why=f"its SHA-256 is {found}, not {expected}",
                cure="find out who changed it; if that is right, write the new hash into the lock",
            )


def _said(argv: list[str]) -> str:
    """What a program says; nothing where there is no such program: other systems than Debian build images too."""
    if shutil.which(argv[0]) is None:
        return ""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    return done.stdout

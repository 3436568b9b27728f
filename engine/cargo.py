"""The Cargo side of recipes: the compiler, and crates that are locked by name, version and SHA-256.

Cargo.lock also says where each crate comes from, which is a matter of the computer's settings. What we keep is
crates.lock, one crate a line; with it and with what cargo calls its registry here, Cargo.lock is made again before a
build. `python -m engine.cargo TOOL` writes crates.lock anew, with the newest crates that Cargo.toml allows.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from engine.cache import root
from engine.errors import BuildFailed, EngineError
from engine.process import Runner
from engine.progress import Progress
from engine.versions import VERSIONS

LOCK = "crates.lock"
PACKAGES = Path(__file__).with_name("rust")  # one folder per tool


def command() -> str:
    """The cargo on PATH. Raises EngineError."""
    found = shutil.which("cargo")
    if found is None:
        raise EngineError(
            "there is no Rust compiler",
            where="PATH",
            why="swfs is compiled from our own sources and published crates",
            cure=f"install Rust {VERSIONS['rust']} or newer, with cargo, for example by rustup",
        )
    return found


def environment(folder: Path) -> dict[str, str]:
    """The user's environment, with all that is made in `folder`; downloaded crates stay in the user's cache."""
    return os.environ | {"CARGO_TARGET_DIR": str(folder / "target")}


def restore(source: Path, run: Runner) -> None:
    """Makes `source`/Cargo.lock from crates.lock beside it. Raises BuildFailed when a crate is another one by now."""
    lines = (source / LOCK).read_text(encoding="utf-8").splitlines()
    resolve(source, run)
    cargo_lock = source / "Cargo.lock"
    cargo_lock.write_text(as_cargo_lock(lines, _registry(cargo_lock)), encoding="utf-8")
    # Adds who depends on whom, and leaves versions alone where it can.
    argv = [command(), "update", "--workspace"]
    run.run("lock", argv, cwd=source, env=environment(source))
    different = set(lines) ^ set(crates(cargo_lock))
    if different:
        raise BuildFailed(
            f"the crates are not those of {LOCK}",
            where=f"{source.name}/{LOCK}: {', '.join(sorted({line.split()[0] for line in different}))}",
            why="Cargo.toml asks for others, or the registry has other bytes under these names",
            cure="after a change of Cargo.toml: python -m engine.cargo TOOL; else ask the registry",
        )


def resolve(source: Path, run: Runner) -> None:
    """Lets cargo choose: writes `source`/Cargo.lock anew."""
    run.run("resolve", [command(), "generate-lockfile"], cwd=source, env=environment(source))


def crates(cargo_lock: Path) -> list[str]:
    """The lines of crates.lock that say what a Cargo.lock says: name, version, SHA-256."""
    return [
        f"{package['name']} {package['version']} {package['checksum']}"
        for package in tomllib.loads(cargo_lock.read_text(encoding="utf-8"))["package"]
        if "checksum" in package
    ]


def as_cargo_lock(lines: list[str], registry: str) -> str:
    """A Cargo.lock of these crates.

    >>> print(as_cargo_lock(["hex 0.4.3 7f24"], "registry+here"))
    version = 4
    <BLANKLINE>
    [[package]]
    name = "hex"
    version = "0.4.3"
    source = "registry+here"
    checksum = "7f24"
    <BLANKLINE>
    """
    text = "version = 4\n"
    for line in lines:
        name, version, checksum = line.split()
        fields = {"name": name, "version": version, "source": registry, "checksum": checksum}
        text += "\n[[package]]\n" + "".join(f'{key} = "{value}"\n' for key, value in fields.items())
    return text


def _registry(cargo_lock: Path) -> str:
    """What cargo calls the registry of this computer."""
    packages = tomllib.loads(cargo_lock.read_text(encoding="utf-8"))["package"]
    return next(str(package["source"]) for package in packages if "source" in package)


def lock(tool: str, progress: Progress) -> None:
    """Writes crates.lock of a tool anew."""
    ours = PACKAGES / tool
    progress.begin(tool)
    run = Runner(tool, root() / "logs" / f"{tool}-lock.log", progress)
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / tool
        shutil.copytree(ours, source)
        resolve(source, run)
        (ours / LOCK).write_text("\n".join(crates(source / "Cargo.lock")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    lock(sys.argv[1], Progress())

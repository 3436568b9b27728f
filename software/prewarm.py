"""Finds out what the first `import ROOT` reads of a view: what a machine can read before its first user comes."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from engine import cache
from engine.process import Runner
from engine.progress import Progress
from software import build
from software.container import container
from software.releases import find

# What a first cell does: a histogram, filled and drawn.
_FIRST_CELL = "import ROOT; h = ROOT.TH1D('h', '', 10, 0, 1); h.FillRandom('gaus'); h.Draw()"


def record(name: str, progress: Progress) -> list[str]:
    """Writes the prewarm list of a release; gives its lines. Raises EngineError."""
    release = find(name)
    view = build.ensure(name, progress)
    progress.begin(name)
    run = Runner(name, cache.root() / "logs" / f"software-{name}-prewarm.log", progress)
    with (
        cache.lock("software", f"prewarm {name}", lambda other: progress.at(f"waiting for another run, at {other}")),
        tempfile.TemporaryDirectory(dir=view.parent) as folder,
    ):
        copy = Path(folder) / "view"
        progress.at("copy the view")
        shutil.copytree(view, copy, symlinks=True)
        _forget_reads(copy)
        with container("session", {copy: "/view"}, run, progress) as inside:
            inside("import ROOT", ["sh", "-c", f'. /view/setup.sh && python3 -c "{_FIRST_CELL}"'])
        lines = sorted(str(file.relative_to(copy)) for file in _read(copy))
    release.prewarm.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return lines


def _forget_reads(folder: Path) -> None:
    """Sets the times of access so far back that the next access is noted, also where the file system is lazy."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            os.utime(file, (0, file.stat().st_mtime))


def _read(folder: Path) -> list[Path]:
    """The files with something in them that were read since."""
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    return [file for file in files if file.stat().st_atime and file.stat().st_size]

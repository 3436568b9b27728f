"""R and Octave, as folders of Debian's packages that run wherever a view is mounted: made once for all releases.

<root>/software/debian-<key>/     what is folder `debian` of every view
    usr/                          files with their paths, see software/debian/programs
    lib/                          the libraries that they need and the sessions' system lacks
    run                           starts programs that have to be told where they are
    packages, copyright/          of which packages all this is, and what may be done with it

Files of views are hard links to these: a view needs no room for them, and what was published of one is known of all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from pathlib import Path

import yaml

from engine import cache
from engine.errors import EngineError
from engine.process import Runner
from engine.progress import Progress
from images import catalogue
from images.catalogue import LEFT_BY_PYTHON
from images.context import Apt
from software.container import container

FOLDER = Path(__file__).with_name("debian")
# Octave's kernel, a Python package.
LOCK = FOLDER / "requirements.lock"
PLACE = "debian"
# Where sessions come from; whoever adds packages there may have less in a view.
_IMAGE = "base"
# To be raised when this makes something else of the same inputs.
_METHOD = 1
_PROGRAMS = {
    **dict.fromkeys(("gnuplot", "makeinfo", "octave", "octave-cli"), "run"),
    **{name: f"usr/lib/R/bin/{name}" for name in ("R", "Rscript")},
}
_R = Path("usr/lib/R")
_BEFORE = "/var/lib/before"  # in the container
# What programs are told of places and of each other: files, what is there, what takes its place, and how often.
_EDITS = (
    ("usr/lib/R/bin/R", "^R_HOME_DIR=/usr/lib/R$", 'R_HOME_DIR=$(dirname "$(dirname "$(readlink -f "$0")")")', 1),
    ("usr/lib/R/bin/R", "^(R_(?:SHARE|INCLUDE|DOC)_DIR)=/usr/", r"\1=${R_HOME%/lib/R}/", 3),
    # Octave loads by itself what draws in windows, and has Ghostscript write images, which gnuplot writes as well.
    ("usr/lib/*/octave/*/oct/*/PKG_ADD", "^.*fltk.*\n", "", 2),
    (
        "usr/share/octave/*/m/plot/util/private/__gnuplot_print__.m",
        r"^function opts = __gnuplot_print__ \(opts\)\n",
        r"\g<0>  opts.devopt = regexprep (opts.devopt, {'^png16m$', '^pdfwrite$'}, {'pngcairo', 'pdfcairo'});\n",
        1,
    ),
)


def packages() -> dict[str, str]:
    """What is asked of Debian, with the beginning of the version that it has to have."""
    return {str(name): str(version) for name, version in yaml.safe_load((FOLDER / "packages.yaml").read_text()).items()}


def key() -> str:
    """Twelve hexadecimal digits that stand for what decides what is in the folder, but for Debian's own corrections."""
    files = sorted(file for file in FOLDER.rglob("*") if file.is_file() and LEFT_BY_PYTHON not in file.parts)
    inputs = [_METHOD, catalogue.fingerprint(_IMAGE)]
    inputs += [(str(file.relative_to(FOLDER)), os.access(file, os.X_OK), cache.digest(file)) for file in files]
    return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[: cache.KEY_LENGTH]


def place() -> Path:
    """Where it is once it was built."""
    return cache.root() / "software" / f"{PLACE}-{key()}"


def ensure(workshop: Path, progress: Progress) -> Path:
    """The folder; built, in `workshop`, when it is not there. Raises EngineError."""
    if not place().is_dir():
        progress.begin(PLACE)
        started = time.monotonic()
        run = Runner(PLACE, cache.root() / "logs" / "software-debian.log", progress)
        tree = workshop / PLACE
        _take(tree, workshop / "apt", run, progress)
        check(tree)
        relocate(tree)
        tree.rename(place())
        progress.say(f"{PLACE} {key()}: built, {time.monotonic() - started:.0f} s")
    return place()


def _take(tree: Path, settings: Path, run: Runner, progress: Progress) -> None:
    """Installs the packages in a container and copies what is wanted of them to `tree`."""
    tree.mkdir()
    apt = Apt.of_this_computer(settings, catalogue.find(_IMAGE).suite)
    with container(_IMAGE, {tree: "/taken", FOLDER: "/wanted"}, run, progress, apt.volumes()) as inside:
        inside("note what sessions have", ["/wanted/take.py", "before", _BEFORE])
        inside("install", ["install-packages", *packages()])
        inside("take", ["/wanted/take.py", "/wanted/programs", _BEFORE, "/taken"])


def check(tree: Path) -> None:
    """Raises EngineError when Debian has other versions than those that releases promise."""
    found = dict(line.split() for line in (tree / "packages").read_text(encoding="utf-8").splitlines())
    for name, version in packages().items():
        # Before a version there may be an epoch.
        if not re.match(rf"(\d+:)?{re.escape(version)}\b", found.get(name, "")):
            raise EngineError(
                f"Debian has {name} {found.get(name, 'no more')}, not {version}",
                where=str(FOLDER / "packages.yaml"),
                why="releases promise one version, for as long as they have their name",
                cure="if releases may have the other one, edit this file and their descriptions in releases.yaml",
            )


def relocate(tree: Path) -> None:
    """Lets programs that were made for /usr find what they need from where they are."""
    (tree / _R / "bin" / "Rscript").rename(tree / "usr" / "bin" / "Rscript")
    shutil.copytree(FOLDER / "tree", tree, dirs_exist_ok=True)
    with (tree / _R / "etc" / "Rprofile.site").open("a", encoding="utf-8") as profile:
        profile.write((FOLDER / "profile.R").read_text(encoding="utf-8"))
    for pattern, before, after, times in _EDITS:
        files = list(tree.glob(pattern))
        found = 0
        for file in files:
            text, count = re.subn(before, after, file.read_text(encoding="utf-8"), flags=re.MULTILINE)
            file.write_text(text, encoding="utf-8")
            found += count
        if found != times:
            raise EngineError(
                "programs would look for what is theirs below /usr, or for what is not in releases",
                where=str(tree / pattern),
                why=f"what matches {before!r} is in there {found} times, not {times}",
                cure="see what this version of the package has instead, and edit software/languages.py",
            )


def add(taken: Path, view: Path) -> None:
    """Makes the folder a part of a view, with its programs and kernels."""
    shutil.copytree(taken, view / PLACE, symlinks=True, copy_function=os.link)
    (view / "bin").mkdir(exist_ok=True)
    for name, program in _PROGRAMS.items():
        (view / "bin" / name).symlink_to(f"../{PLACE}/{program}")
    kernels = view / "share" / "jupyter" / "kernels"
    for file in ("kernel.js", "logo-64x64.png", "logo-svg.svg"):
        shutil.copy(taken / _R / "site-library" / "IRkernel" / "kernelspec" / file, kernels / "ir")
    # Its package has them where Jupyter does not look.
    for picture in (kernels / "octave" / "images").iterdir():
        shutil.copy(picture, kernels / "octave")

"""Makes a view of what pip installed: a tree that works wherever it is mounted, and cannot be written to.

<view>/setup.sh                             to be sourced
<view>/bin, lib/python3.13/site-packages    programs and packages
<view>/lib/python3.13/startup               what puts the packages into Python's list of folders
<view>/share/jupyter/kernels                kernels beside Jupyter's own
<view>/prewarm                              what is worth reading before the first user comes
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from engine.errors import EngineError
from images.catalogue import LEFT_BY_PYTHON
from images.context import PYTHON
from software.releases import COMMON
from software.tree import MARK

SITE_PACKAGES = Path("lib", f"python{PYTHON}", "site-packages")
STARTUP = SITE_PACKAGES.with_name("startup")
# Folders that pip puts beside the packages when it is given a target, and that belong beside `lib`.
_OUTSIDE = ("bin", "etc", "include", "share")
# The beginning of 1980, which is as far back as zip files go: a view has the same times whenever it is built.
_EPOCH = 315532800
# CVMFS's own rule for catalogs that it makes by itself: not more than a client reads in one go, not too many of them.
_LEAST_ENTRIES = 1000


def arrange(installed: Path, view: Path) -> None:
    """Moves what pip installed into a target to the places of a view."""
    packages = view / SITE_PACKAGES
    packages.parent.mkdir(parents=True)
    installed.rename(packages)
    for name in _OUTSIDE:
        if (packages / name).is_dir():
            (packages / name).rename(view / name)
    for program in (view / "bin").glob("*"):
        _free(program)
    for record in packages.glob("*.dist-info/RECORD"):
        # One folder further away than pip put it; and programs were changed.
        text = re.sub(rf"^\.\./\.\./(?={'|'.join(_OUTSIDE)})", "../../../", record.read_text(), flags=re.MULTILINE)
        record.write_text(re.sub(r"^((?:\.\./)+bin/[^,]*),.*$", r"\1,,", text, flags=re.MULTILINE))


def complete(view: Path, prewarm: Path) -> None:
    """Adds what all views have, and the list of what to read first; takes away what nobody needs from a view."""
    packages = view / SITE_PACKAGES
    shutil.copy(COMMON / "setup.sh", view)
    shutil.copytree(
        COMMON / "startup", view / STARTUP, ignore=shutil.ignore_patterns(LEFT_BY_PYTHON), dirs_exist_ok=True
    )
    shutil.copy(COMMON / "cygnet_root_kernel.py", packages)
    shutil.copy(prewarm, view / "prewarm")
    kernels = view / "share" / "jupyter" / "kernels"
    shutil.copytree(COMMON / "kernels", kernels, dirs_exist_ok=True)
    for icon in (packages / "ROOT/etc/notebook/kernels/root").glob("*.png"):
        shutil.copy(icon, kernels / "root")
    # Drawings are interactive unless a user says otherwise.
    settings = packages / "ROOT/etc/system.rootrc"
    text, edits = re.subn(r"^Jupyter\.JSRoot:.*$", "Jupyter.JSRoot: on", settings.read_text(), flags=re.MULTILINE)
    if edits != 1:
        raise EngineError(
            "ROOT's drawings would not be interactive",
            where=str(settings),
            why=f"it has {edits} lines that begin with Jupyter.JSRoot:, not one",
            cure="see what this version of ROOT has instead, and edit software/view.py",
        )
    settings.write_text(text)
    # The script says where things were while the wheel was made.
    config = packages / "ROOT/bin/root-config"
    config.write_text(config.read_text().replace("$ROOTSYS/mock_site_packages/ROOT/", "$ROOTSYS/"))
    for superfluous in (packages / "ROOT/README", packages / "pandas/tests"):
        shutil.rmtree(superfluous)


def check_prewarm(view: Path) -> None:
    """Raises EngineError when the list of what to read first names something that is not there."""
    lines = (view / "prewarm").read_text(encoding="utf-8").splitlines()
    if missing := [line for line in lines if not (view / line).is_file()]:
        raise EngineError(
            f"{len(missing)} files of the prewarm list are not in the view",
            where=str(view),
            why=f"the packages were changed after the list was written; the first is {missing[0]}",
            cure="empty the list, then write it anew: python -m software prewarm",
        )


def mark(view: Path) -> None:
    """Marks folders that are big enough for a catalog of their own, so that clients get no more than they need."""
    entries: dict[Path, int] = {}
    for name, folders, files in os.walk(view, topdown=False):
        folder = Path(name)
        entries[folder] = len(files) + sum(entries.get(folder / inner, 0) + 1 for inner in folders)
        if entries[folder] >= _LEAST_ENTRIES or folder == view:
            (folder / os.fsdecode(MARK)).touch()
            entries[folder] = 0


def settle(view: Path) -> None:
    """Gives everything the same time, and everybody the right to read it."""
    for name, folders, files in os.walk(view, topdown=False):
        for inner in (*folders, *files, "."):
            path = Path(name, inner)
            if not path.is_symlink():
                executable = path.is_dir() or os.access(path, os.X_OK)
                path.chmod(0o755 if executable else 0o644)
            os.utime(path, (_EPOCH, _EPOCH), follow_symlinks=False)


def _free(program: Path) -> None:
    """Lets a script be run by the Python on PATH, not by the one that installed it."""
    content = program.read_bytes()
    if content.startswith(b"#!"):
        program.write_bytes(re.sub(rb"\A#!.*python.*", b"#!/usr/bin/env python3", content))

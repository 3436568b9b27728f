"""Tools that the computer has already: found on PATH, in exactly the pinned version."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from pathlib import Path

from engine.cache import root
from engine.kinds import Recipe

WRAPPER_MARK = "# Written by `python -m engine link`"  # the second line of our pulumi wrapper
_PATIENCE = 20.0  # seconds for a program to state its version


def find(recipe: Recipe) -> dict[str, Path] | None:
    """Where each binary of the tool is; None unless all are there and those asked state the recipe's version."""
    if not recipe.asks:
        return None
    found = {binary: _first(binary) for binary in recipe.binaries}
    places = {binary: place for binary, place in found.items() if place is not None}
    if len(places) < len(found):
        return None
    right = all(states(_ask(places[binary], question), recipe.version) for binary, question in recipe.asks.items())
    return places if right else None


def states(said: str, version: str) -> bool:
    """Whether a program that says this has exactly this version.

    >>> states("Kubernetes v1.36.3", "1.36.3"), states("v1.36.3+k3s1", "1.36.3"), states("11.36.3", "1.36.3")
    (True, False, False)
    """
    return re.search(rf"(?<![\w.+-])v?{re.escape(version)}(?![\w+-]|\.\w)", said) is not None


def ours(file: Path) -> bool:
    """Whether `file` is our own doing: a link into the store, or the pulumi wrapper."""
    if file.resolve().is_relative_to(root().resolve()):
        return True
    with file.open("rb") as opened:
        return WRAPPER_MARK.encode() in opened.read(200)


def _first(binary: str) -> Path | None:
    for folder in os.get_exec_path():
        file = Path(folder) / binary
        if file.is_file() and os.access(file, os.X_OK) and not ours(file):
            return file
    return None


@functools.cache
def _ask(file: Path, arguments: tuple[str, ...]) -> str:
    try:
        argv = [str(file), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ""

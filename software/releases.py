"""The releases by name, what each is made of, and a key for that: all of it without building anything.

A lock is written in the release's folder, under the Python of the sessions, by
    pip-compile --allow-unsafe --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links
        --no-emit-trusted-host --output-file=requirements.lock requirements.in
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from engine import cache, names
from images.catalogue import LEFT_BY_PYTHON
from images.context import PYTHON
from software import languages

FOLDER = Path(__file__).parent
FILE = FOLDER / "releases.yaml"
# What all views contain beside their packages.
COMMON = FOLDER / "common"
# To be raised when software.build makes something else of the same inputs.
METHOD = 4


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    description: str


@dataclass(frozen=True)
class Release:
    """One release: what users call it and read of it, and its files."""

    name: str
    title: str
    description: str

    @property
    def lock(self) -> Path:
        """Its Python packages, with their hashes."""
        return FOLDER / self.name / "requirements.lock"

    @property
    def prewarm(self) -> Path:
        """What its first `import ROOT` reads, one path below the view a line."""
        return FOLDER / self.name / "prewarm"

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits that stand for all that decides what its view contains."""
        common = (file for file in COMMON.rglob("*") if file.is_file() and LEFT_BY_PYTHON not in file.parts)
        files = [self.lock, self.prewarm, *sorted(common)]
        inputs = [METHOD, PYTHON, languages.key()]
        inputs += ((str(file.relative_to(FOLDER)), cache.digest(file)) for file in files)
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[: cache.KEY_LENGTH]

    @property
    def view(self) -> Path:
        """Where its view is once it was built."""
        return cache.root() / "software" / f"{self.name}-{self.key}"


def _read() -> dict[str, Release]:
    entries = TypeAdapter(dict[str, _Entry]).validate_python(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    return {name: Release(name, entry.title, entry.description) for name, entry in entries.items()}


RELEASES = _read()
"""All releases by name, in the order of releases.yaml: the first is the usual choice."""


def find(name: str) -> Release:
    """The release of this name. Raises EngineError with the nearest names."""
    return names.find(name, RELEASES, kind="release", where=FILE, cure="python -m software list")


def key(name: str) -> str:
    """What stands for all that the release of this name contains. Raises EngineError when there is none."""
    return find(name).key

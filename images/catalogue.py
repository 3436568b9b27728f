"""The images by name, what each is made of, and the fingerprint of that: all of it without building anything."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from engine import cache, names, tools
from engine.versions import VERSIONS

FOLDER = Path(__file__).parent
FILE = FOLDER / "images.yaml"
# To be raised when images.build makes something else of the same inputs.
METHOD = 1
LEFT_BY_PYTHON = "__pycache__"


class Debian(BaseModel):
    """A Debian file system that mmdebstrap makes, with symbolic links (path: target) that its packages do not bring."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    packages: tuple[str, ...]
    links: dict[str, str] = {}
    release_of: Literal["images", "machines"] = "images"

    @property
    def suite(self) -> str:
        """The release of Debian."""
        return VERSIONS[f"debian_{self.release_of}"]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str | None = None
    debian: Debian | None = None


@dataclass(frozen=True)
class Image:
    """One image: its folder, and what its Containerfile wants from outside of it."""

    name: str
    tag_rule: str | None
    debian: Debian | None

    @property
    def suite(self) -> str:
        """The release of Debian whose packages are installed while it is built."""
        return self.debian.suite if self.debian else VERSIONS["debian_images"]

    @property
    def folder(self) -> Path:
        """Its Containerfile and what that copies."""
        return FOLDER / self.name

    @property
    def containerfile(self) -> str:
        """The text that says what goes in."""
        return (self.folder / "Containerfile").read_text(encoding="utf-8")

    @property
    def parents(self) -> tuple[str, ...]:
        """Images that it stands on or copies from, as its Containerfile says."""
        found = re.findall(r"^FROM cygnet/(\S+)|--from=cygnet/(\S+)", self.containerfile, re.MULTILINE)
        return tuple(dict.fromkeys(name for pair in found for name in pair if name))

    @property
    def tools(self) -> tuple[str, ...]:
        """Binaries of the engine that its Containerfile copies."""
        return tuple(dict.fromkeys(re.findall(r"(?<=\stools/)\S+", self.containerfile)))

    @property
    def locks(self) -> tuple[Path, ...]:
        """Files that name Python packages with their hashes."""
        return tuple(sorted(self.folder.glob("*.lock")))

    @property
    def npm_lock(self) -> Path | None:
        """The file that names npm packages with their hashes, where there is one."""
        file = self.folder / "package-lock.json"
        return file if file.exists() else None

    @property
    def maven_lock(self) -> Path | None:
        """The file that names what comes by Maven, with hashes, where there is one."""
        file = self.folder / "maven.sha256"
        return file if file.exists() else None

    @property
    def layout(self) -> Path:
        """Where its OCI layout lies once it was built."""
        return cache.root() / "images" / f"{self.name}-{fingerprint(self.name)}"

    def files(self) -> Iterator[tuple[str, str]]:
        """Every file of the folder: its path below it, and what stands for its content and mode."""
        for file in sorted(self.folder.rglob("*")):
            if LEFT_BY_PYTHON in file.parts:
                continue
            if file.is_symlink():
                yield str(file.relative_to(self.folder)), f"-> {file.readlink()}"
            elif file.is_file():
                executable = "x" if os.access(file, os.X_OK) else "-"
                yield str(file.relative_to(self.folder)), f"{executable} {cache.digest(file)}"


@functools.cache
def images() -> dict[str, Image]:
    """All images by name, in the order of images.yaml: parents stand before what is made of them."""
    entries = TypeAdapter(dict[str, _Entry]).validate_python(yaml.safe_load(FILE.read_text(encoding="utf-8")))
    return {name: Image(name, entry.tag, entry.debian) for name, entry in entries.items()}


def find(name: str) -> Image:
    """The image of this name. Raises EngineError with the nearest names."""
    return names.find(name, images(), kind="image", where=FILE, cure="python -m images list")


def fingerprint(name: str) -> str:
    """Twelve hexadecimal digits that stand for all that decides what the image contains.

    These are the files of its folder, the engine's tools in it, its Debian packages' names, and its parents. Debian's
    and not ours to fix are those packages' versions: an image has those of the day on which it was built.
    """
    image = find(name)
    inputs = {
        "method": METHOD,
        "files": dict(image.files()),
        "tools": {tool: tools.key(tool) for tool in image.tools},
        "debian": image.debian and [image.debian.suite, image.debian.model_dump()],
        "parents": {parent: fingerprint(parent) for parent in image.parents},
    }
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[: cache.KEY_LENGTH]


def tag(name: str) -> str:
    """The image's tag in a registry: the fingerprint, or the version under which the cluster's software asks for it."""
    rule = find(name).tag_rule
    return rule.format_map(VERSIONS) if rule else fingerprint(name)

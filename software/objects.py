"""The store of a repository: objects that are named by what is in them, compressed, written once.

    <store>/data/ab/cdef...     an object: zlib's output, whose SHA-1 is abcdef...; a letter behind says what it is
    <store>/data/txn/           objects that are being written; what a killed run left is removed by the next one

An object that is there is complete: it is written elsewhere and renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from enum import StrEnum
from pathlib import Path
from tempfile import NamedTemporaryFile


class Kind(StrEnum):
    """What an object is: the letter behind its name."""

    FILE = ""
    CHUNK = "P"
    CATALOG = "C"
    CERTIFICATE = "X"
    HISTORY = "H"


class Objects:
    """The objects of one store. Threads may put at the same time."""

    def __init__(self, store: Path) -> None:
        self._data = store / "data"
        self._unfinished = self._data / "txn"

    def begin(self) -> None:
        """Makes the folders, and removes what a killed run left half written."""
        self.end()
        self._unfinished.mkdir(parents=True)
        for first in range(256):
            (self._data / f"{first:02x}").mkdir(exist_ok=True)

    def end(self) -> None:
        """Removes the folder of unfinished objects."""
        shutil.rmtree(self._unfinished, ignore_errors=True)

    def path(self, name: str, kind: Kind) -> Path:
        """Where the object of this name (40 hexadecimal digits) is, or would be."""
        return self._data / name[:2] / f"{name[2:]}{kind}"

    def put(self, content: bytes, kind: Kind) -> str:
        """Writes an object unless it is there; gives its name."""
        name, compressed = _named(content)
        target = self.path(name, kind)
        if not _has_size(target, len(compressed)):
            with NamedTemporaryFile(dir=self._unfinished, delete=False) as unfinished:
                unfinished.write(compressed)
            Path(unfinished.name).chmod(0o644)
            Path(unfinished.name).rename(target)
        return name

    def take(self, other: Objects, name: str, kind: Kind) -> bool:
        """Has an object that another store of the same file system has, too; tells whether it is here now.

        Both have the one file, which nobody writes to.
        """
        try:
            os.link(other.path(name, kind), self.path(name, kind))
        except FileExistsError:
            return True
        except OSError:  # it is not there, or on another file system
            return False
        return True

    def name(self, content: bytes) -> str:
        """The name that an object of this content would have."""
        return _named(content)[0]

    def get(self, name: str, kind: Kind) -> bytes:
        """The content of an object. Raises OSError, zlib.error."""
        return zlib.decompress(self.path(name, kind).read_bytes())

    def has(self, name: str, kind: Kind) -> bool:
        """Whether the object is there."""
        return self.path(name, kind).exists()

    def all(self) -> set[Path]:
        """The paths of all objects."""
        return set(self._data.glob("??/*"))


def _named(content: bytes) -> tuple[str, bytes]:
    """The name of an object, and what is stored of it."""
    compressed = zlib.compress(content)
    return hashlib.sha1(compressed, usedforsecurity=False).hexdigest(), compressed


def _has_size(file: Path, size: int) -> bool:
    """Whether the file is there in full: a power cut can leave an empty one behind a rename."""
    try:
        return os.stat(file).st_size == size
    except FileNotFoundError:
        return False

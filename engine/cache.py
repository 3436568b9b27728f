"""The store of tools: content-addressed, published in one step, verified on use.

    <root>/tools/<tool>/<version>-<key>/bin/...     what was built, with manifest.json beside bin
    <root>/tools/.building/...                      work in progress, on the same file system
    <root>/go/{mod,build}, <root>/logs              the compiler's caches, the commands' logs

<root> is cygnet in the user's cache folder. A folder under tools/<tool> is complete or not there: it is made elsewhere
and renamed. Whatever is left in .building when nobody holds the lock comes from a killed run and is removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from engine import folders
from engine.errors import EngineError

KEY_LENGTH = 12
POLL_SECONDS = 1.0
MANIFEST = "manifest.json"


def root() -> Path:
    """The folder of all that cygnet caches."""
    return folders.cache()


def digest(file: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@dataclass(frozen=True)
class Entry:
    """The place of one version of one tool, made by one text of its recipe; it may be empty still."""

    tool: str
    version: str
    key: str

    @property
    def folder(self) -> Path:
        """Where it is, or will be."""
        return root() / "tools" / self.tool / f"{self.version}-{self.key}"

    @property
    def bin(self) -> Path:
        """The folder of its binaries."""
        return self.folder / "bin"

    def present(self) -> bool:
        """Whether it was published. Cheap; says nothing of damage."""
        return (self.folder / MANIFEST).is_file()

    def manifest(self) -> dict[str, Any]:
        """What `publish` wrote: tool, version, key, files (name: sha256) and the facts given to it."""
        loaded: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        return loaded

    def megabytes(self) -> float:
        """The size of its binaries."""
        return sum(file.stat().st_size for file in self.bin.iterdir()) / 1e6

    def damage(self) -> str | None:
        """The first difference between manifest and files, in words; None: all is well. Reads every byte."""
        try:
            files: dict[str, str] = self.manifest()["files"]
        except (ValueError, KeyError, OSError) as error:
            return f"{MANIFEST} cannot be read ({error})"
        for name, expected in files.items():
            file = self.bin / name
            if not file.is_file():
                return f"{name} is missing"
            if digest(file) != expected:
                return f"{name} has another SHA-256 than its manifest says"
        return None

    @contextmanager
    def building(self, waiting: Callable[[str], None]) -> Iterator[Path]:
        """An empty folder to build in, while no other run builds; it is gone afterwards unless it was published.

        `waiting` is told what another run is building when this one has to wait for it.
        """
        with lock("tools", self.tool, waiting):
            workshop = root() / "tools" / ".building"
            shutil.rmtree(workshop, ignore_errors=True)
            workshop.mkdir(parents=True)
            folder = Path(tempfile.mkdtemp(prefix=f"{self.tool}-", dir=workshop))
            try:
                yield folder
            finally:
                shutil.rmtree(workshop, ignore_errors=True)

    def publish(self, built: Path, facts: Mapping[str, Any]) -> None:
        """Makes what lies in `built`/bin this entry, in one step; replaces a damaged one. Only inside of `building`."""
        product = built.with_name(f"{built.name}.product")
        product.mkdir()
        (built / "bin").rename(product / "bin")
        for file in (product / "bin").iterdir():
            file.chmod(0o755)
        files = {file.name: digest(file) for file in sorted((product / "bin").iterdir())}
        manifest = {"tool": self.tool, "version": self.version, "key": self.key, **facts, "files": files}
        (product / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        if self.folder.exists():
            self.folder.rename(built.with_name(f"{built.name}.damaged"))
        product.rename(self.folder)


def drop_superseded(current: Iterable[Entry], waiting: Callable[[str], None]) -> float:
    """Removes all entries but the current ones, when no other run builds; gives the megabytes that were freed."""
    kept = {entry.folder for entry in current}
    freed = 0.0
    with lock("tools", "nothing", waiting):
        for folder in (root() / "tools").glob("[!.]*/*"):
            if folder not in kept:
                freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
                shutil.rmtree(folder)
    return freed


@contextmanager
def lock(store: str, piece: str, waiting: Callable[[str], None]) -> Iterator[None]:
    """Held while `piece` of a store is built: one big build at a time, and none twice. Ends with the process.

    Args:
        store: Folder of the cache, for example "tools".
        piece: What others who wait are told.
        waiting: Called with the other run's piece, again and again, until it is our turn.

    Raises:
        EngineError: The file system has no locks.
    """
    file = root() / store / ".lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+", encoding="utf-8") as held:
        try:
            while not _locked(held):
                held.seek(0)
                waiting(held.read() or "something")
                time.sleep(POLL_SECONDS)
        except OSError as error:
            raise EngineError(
                f"the store of {store} cannot be locked",
                where=str(file),
                why=str(error),
                cure="let XDG_CACHE_HOME name a folder on a file system that has locks",
            ) from error
        held.truncate(0)
        held.write(piece)
        held.flush()
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

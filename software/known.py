"""What was compressed before: a file that is still the same one need not be read again.

A file is the same when the file system says so (`tree.identity`). Its objects stay in the cache when the stores that
have them go, so that the next store has them at once. This is a help and no truth: without it all is compressed once
more, with the same result.
"""

from __future__ import annotations

import os
import sqlite3
import time

from engine import cache
from software.objects import Objects
from software.tree import CHUNK_BYTES, Node

# A file that was changed a moment ago may be changed again without a new time.
_MOMENT_NS = 100_000_000
KEPT = ".objects"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, objects TEXT,
    PRIMARY KEY (device, inode)) WITHOUT ROWID
"""


class Known:
    """The objects of files, by what the file system says of these.

    Attributes:
        kept: Objects of files; by hard links: what a store has needs no more room.
    """

    def __init__(self) -> None:
        folder = cache.root() / "software"
        self.kept = Objects(folder / KEPT)
        self.kept.begin()
        # Files that were cut elsewhere have other objects.
        self._database = sqlite3.connect(folder / f"known-{CHUNK_BYTES}.sqlite")
        self._database.execute(_SCHEMA)

    def pieces(self, file: Node) -> list[str]:
        """The names of a file's objects, in order; none when the file is not known."""
        query = "SELECT objects FROM files WHERE (device, inode, size, mtime, ctime) = (?, ?, ?, ?, ?)"
        found = self._database.execute(query, file.identity).fetchone()
        return str(found[0]).split() if found else []

    def remember(self, file: Node) -> None:
        """Notes the objects of a file that was read just now."""
        *_, ctime_ns = file.identity
        if time.time_ns() - ctime_ns > _MOMENT_NS:
            row = (*file.identity, " ".join(file.pieces))
            self._database.execute("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?)", row)

    def save(self) -> None:
        """Keeps what was noted, after the objects themselves are on the disk."""
        if self._database.in_transaction:
            os.sync()
            self._database.commit()

    def close(self) -> None:
        """Ends; what was not saved is forgotten."""
        self.kept.end()
        self._database.close()


def trim() -> int:
    """Removes kept objects that no store has; gives the bytes that were freed."""
    objects = Objects(cache.root() / "software" / KEPT).all()
    alone = {file: status.st_size for file in objects if (status := file.stat()).st_nlink == 1}
    for file in alone:
        file.unlink()
    return sum(alone.values())

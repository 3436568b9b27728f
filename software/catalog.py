"""Catalogs: SQLite files that say what lies in a folder and below, down to folders that have catalogs of their own.

The schema is CVMFS's 2.5, revision 7. The same content makes the same bytes: a catalog below the root says nothing of
revisions, so one that did not change is the same object in the next revision, and clients have it already.
"""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from software.objects import Kind, Objects
from software.sealed import TTL_SECONDS
from software.tree import Node

# The bits of `flags`. None for the algorithms: SHA-1 and zlib.
_DIRECTORY, _MOUNTPOINT, _FILE, _LINK, _NESTED_ROOT, _CHUNKED = 1, 2, 4, 8, 32, 64
_DIRECTORY_BYTES = 4096
_COUNTERS = (
    *("regular", "symlink", "special", "dir", "nested", "chunked", "chunks", "file_size", "chunked_size"),
    *("xattr", "external", "external_file_size"),
)
# Clients stop when a table or a counter is missing, even where it would be empty.
_SCHEMA = """
CREATE TABLE catalog (
    md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER, hash BLOB,
    size INTEGER, mode INTEGER, mtime INTEGER, flags INTEGER, name TEXT, symlink TEXT, uid INTEGER, gid INTEGER,
    xattr BLOB, mtimens INTEGER, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2));
CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
CREATE TABLE chunks (
    md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog(md5path_1, md5path_2));
CREATE TABLE nested_catalogs (
    path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));
CREATE TABLE bind_mountpoints (
    path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));
CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
"""
# Names are bytes; SQLite is to take them as text, whatever they are.
_INSERT = """
INSERT INTO catalog VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), 0, 0, NULL, ?)
"""

_ROOT_ENTRY = """
SELECT md5path_1, md5path_2, parent_1, parent_2, hardlinks, hash, size, mode, mtime, flags, CAST(name AS BLOB),
    CAST(symlink AS BLOB), mtimens FROM catalog WHERE (md5path_1, md5path_2) = (?, ?)
"""


def root_catalog(root: Node, objects: Objects, *, revision: int, published: int) -> bytes:
    """The root catalog of a revision; those below are written.

    Args:
        root: What the repository contains, with the objects of all files.
        objects: Where the catalogs below the root go.
        revision: Its number.
        published: Seconds of Unix time.
    """
    catalog = _Catalog(root, objects)
    return catalog.finished({"revision": revision, "last_modified": published, "TTL": TTL_SECONDS})


class _Catalog:
    """The catalog of a folder and what is below it, in memory; of folders with catalogs of their own, the place."""

    def __init__(self, root: Node, objects: Objects) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(_SCHEMA)
        self.own: Counter[str] = Counter()
        self.below: Counter[str] = Counter()
        self.own["dir"] = 1
        self._add(root, _DIRECTORY | (_NESTED_ROOT if root.path else 0))
        waiting = [root]
        while waiting:
            for node in waiting.pop().children:
                if node.catalog:
                    self._add_former(node, objects.get(node.catalog, Kind.CATALOG))
                elif node.nested:
                    self._add_nested(node, _Catalog(node, objects), objects)
                elif node.is_directory:
                    self._add(node, _DIRECTORY)
                    self.own["dir"] += 1
                    waiting.append(node)
                elif node.is_link:
                    self._add(node, _FILE | _LINK)
                    self.own["symlink"] += 1
                else:
                    self._add_file(node)

    def finished(self, properties: Mapping[str, object]) -> bytes:
        """The catalog as a file, with these properties beside those that all have."""
        counters = [(f"self_{name}", self.own[name]) for name in _COUNTERS]
        counters += [(f"subtree_{name}", self.below[name]) for name in _COUNTERS]
        self._database.executemany("INSERT INTO statistics VALUES (?, ?)", counters)
        properties = {"schema": "2.5", "schema_revision": "7", **properties}
        self._database.executemany("INSERT INTO properties VALUES (?, CAST(? AS TEXT))", properties.items())
        self._database.commit()
        content = self._database.serialize()
        self._database.close()
        return content

    def _add(self, node: Node, flags: int, content: bytes | None = None) -> None:
        parent = _halves(node.path.rpartition(b"/")[0]) if node.path else (0, 0)
        links, size = (node.subfolders + 2, _DIRECTORY_BYTES) if node.is_directory else (1, node.size)
        name = node.path.rpartition(b"/")[2]
        seconds, nanoseconds = divmod(node.mtime_ns, 10**9)
        row = (*_halves(node.path), *parent, links, content, size, node.mode, seconds, flags, name, node.target)
        self._database.execute(_INSERT, (*row, nanoseconds))

    def _add_nested(self, node: Node, catalog: _Catalog, objects: Objects) -> None:
        self._add(node, _DIRECTORY | _MOUNTPOINT)
        content = catalog.finished({"root_prefix": node.path})
        self._mount(node.path, objects.put(content, Kind.CATALOG), len(content))
        self.below += catalog.own + catalog.below

    def _add_former(self, node: Node, content: bytes) -> None:
        """A folder with the catalog that it had, which says all about it."""
        ((*begin, _flags, name, target, mtimens),) = _asked(content, _ROOT_ENTRY, _halves(node.path))
        self._database.execute(_INSERT, (*begin, _DIRECTORY | _MOUNTPOINT, name, target, mtimens))
        self._mount(node.path, node.catalog, len(content))
        for counter, value in _asked(content, "SELECT counter, value FROM statistics"):
            self.below[counter.partition("_")[2]] += value

    def _mount(self, path: bytes, catalog: str, size: int) -> None:
        row = (path, catalog, size)
        self._database.execute("INSERT INTO nested_catalogs VALUES (CAST(? AS TEXT), ?, ?)", row)
        self.own["nested"] += 1

    def _add_file(self, node: Node) -> None:
        self.own["regular"] += 1
        self.own["file_size"] += node.size
        if not node.is_chunked:
            self._add(node, _FILE, bytes.fromhex(node.pieces[0]))
            return
        self._add(node, _FILE | _CHUNKED)
        self.own["chunked"] += 1
        self.own["chunks"] += len(node.pieces)
        self.own["chunked_size"] += node.size
        path = _halves(node.path)
        rows = [(*path, *chunk, bytes.fromhex(name)) for chunk, name in zip(node.chunks(), node.pieces, strict=True)]
        self._database.executemany("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", rows)


def nested_in(catalog: bytes) -> list[str]:
    """The names of the catalogs that a catalog names."""
    return [str(name) for (name,) in _asked(catalog, "SELECT sha1 FROM nested_catalogs")]


def contents_in(catalog: bytes) -> list[tuple[str, Kind]]:
    """The names of the objects that are contents of a catalog's files."""
    files = _asked(catalog, "SELECT hash FROM catalog WHERE hash IS NOT NULL")
    chunks = _asked(catalog, "SELECT hash FROM chunks")
    return [(row[0].hex(), Kind.FILE) for row in files] + [(row[0].hex(), Kind.CHUNK) for row in chunks]


def linked_in(catalog: bytes) -> dict[bytes, str]:
    """The folders that links at the root lead to, by their paths: the names of their catalogs."""
    query = """
        SELECT CAST(path AS BLOB), sha1 FROM nested_catalogs JOIN catalog ON path = '/' || symlink
        WHERE flags & ? AND (parent_1, parent_2) = (?, ?)
    """
    return dict(_asked(catalog, query, (_LINK, *_halves(b""))))


def _asked(catalog: bytes, query: str, values: tuple[int, ...] = ()) -> list[Any]:
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(catalog)
        return database.execute(query, values).fetchall()


def _halves(path: bytes) -> tuple[int, int]:
    """The two numbers by which a path is found."""
    low, high = struct.unpack("<qq", hashlib.md5(path, usedforsecurity=False).digest())
    return low, high

"""The history of a repository: which revision had which root catalog, as CVMFS's named snapshots."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import astuple, dataclass

_SCHEMA = """
CREATE TABLE branches (
    branch TEXT, parent TEXT, initial_revision INTEGER, CONSTRAINT pk_branch PRIMARY KEY (branch),
    FOREIGN KEY (parent) REFERENCES branches (branch),
    CHECK ((branch <> '') OR (parent IS NULL)), CHECK ((branch = '') OR (parent IS NOT NULL)));
CREATE TABLE tags (
    name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT, size INTEGER,
    branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name), FOREIGN KEY (branch) REFERENCES branches (branch));
CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
INSERT INTO branches VALUES ('', NULL, 0);
INSERT INTO properties VALUES ('schema', '1.0'), ('schema_revision', '3');
"""


@dataclass(frozen=True)
class Snapshot:
    """A revision that can be had."""

    revision: int
    root: str
    """Name of its root catalog."""
    root_size: int
    """Bytes, uncompressed."""
    published: int
    """Seconds of Unix time."""


def write(fqrn: str, snapshots: Iterable[Snapshot]) -> bytes:
    """A history of these revisions."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.executescript(_SCHEMA)
        database.execute("INSERT INTO properties VALUES ('fqrn', ?)", (fqrn,))
        for snapshot in snapshots:
            revision, root, size, published = astuple(snapshot)
            row = (f"revision-{revision}", root, revision, published, 0, "", size, "")
            database.execute("INSERT INTO tags VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()
        return database.serialize()


def read(history: bytes) -> list[Snapshot]:
    """The revisions of a history, oldest first."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(history)
        rows = database.execute("SELECT revision, hash, size, timestamp FROM tags ORDER BY revision").fetchall()
    return [Snapshot(*row) for row in rows]

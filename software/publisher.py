"""Publishes folders as a CVMFS repository: a store of files that any web server can serve to CVMFS's clients.

    <store>/.cvmfspublished     the manifest: the newest revision, signed
    <store>/.cvmfswhitelist     who may sign, until when, signed by the master key
    <store>/data/               objects, see software.objects

Objects come first and the manifest last, in one step each: whoever reads a store finds what its manifest names. What a
killed run made stays, and the next run goes on from there.

A revision has, besides its own trees, those that links of the FORMER revisions before it led to: who followed such a
link goes on with what was found there, while others find what is new.
"""

from __future__ import annotations

import datetime as dt
import os
import stat
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from engine import cache
from engine.errors import EngineError
from engine.progress import Progress
from software import history, sealed
from software.catalog import linked_in, root_catalog
from software.history import Snapshot
from software.keys import Keys
from software.known import Known
from software.objects import Kind, Objects
from software.sealed import Manifest
from software.tree import Node, identity, plant

WHITELIST_DAYS = 30
FORMER = 2
# What was compressed is noted so often: the most that a killed run does again.
_SAVE_SECONDS = 20.0


@dataclass(frozen=True)
class Published:
    """What a store has to offer now."""

    revision: int
    root_hash: str


def publish(
    trees: Mapping[str, Path],
    store: Path,
    fqrn: str,
    keys: Keys,
    progress: Progress | None = None,
    *,
    links: Mapping[str, str] | None = None,
    days: int = WHITELIST_DAYS,
) -> Published:
    """Makes these trees the content of a repository; the same content stays the same revision.

    Args:
        trees: Folders of this computer by their path in the repository, such as "stable"; "" for the whole of it.
        store: The repository's folder; made when there is none.
        fqrn: Fully qualified name of the repository, for example software.example.org.
        keys: What `make_keys` made for it, always the same.
        progress: Where to tell what is being done.
        links: Names at the root that lead to trees there, such as "stable" to "stable-1a2b". A tree that begins with a
            catalog of its own (`tree.MARK`) stays for FORMER revisions after the last one with a link to it.
        days: How long clients are to trust it, see `renew_whitelist`.

    Raises:
        EngineError: A tree cannot be published, or changed while it was, or the store is another repository's.
    """
    progress = progress or Progress()
    progress.begin(fqrn)
    started = time.monotonic()
    store.mkdir(parents=True, exist_ok=True)
    with cache.lock("software", fqrn, lambda other: progress.at(f"waiting for another run, at {other}")):
        before = _before(store, fqrn)
        objects = Objects(store)
        objects.begin()
        root = plant(trees, links or {})
        _compress(root, objects, progress)
        progress.at("catalogs")
        after = _revision(root, objects, before, fqrn, keys)
        renew_whitelist(store, fqrn, keys, days)
        objects.end()
        content = after.sealed(keys)
        if not _is(store / sealed.MANIFEST, content):
            os.sync()
            sealed.write(store / sealed.MANIFEST, content)
    news = "as before" if before and before.revision == after.revision else "published"
    progress.say(f"{fqrn}: revision {after.revision} {news}, {time.monotonic() - started:.0f} s")
    return Published(after.revision, after.root)


def renew_whitelist(store: Path, fqrn: str, keys: Keys, days: int = WHITELIST_DAYS) -> dt.datetime:
    """Lets clients trust the store for `days` from now, if they do for less than half of that; gives the end."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    file = store / sealed.WHITELIST
    if dates := sealed.whitelist_dates(store):
        written, end = dates
        kept = sealed.whitelist(fqrn, keys, written, end)
        if dt.timedelta(days=days) / 2 <= end - now <= dt.timedelta(days=days) and _is(file, kept):
            return end
    end = now + dt.timedelta(days=days)
    sealed.write(file, sealed.whitelist(fqrn, keys, now, end))
    return end


def _before(store: Path, fqrn: str) -> Manifest | None:
    """The manifest that the store has. Raises EngineError when it is another repository's."""
    manifest = Manifest.read(store)
    if manifest and manifest.fqrn != fqrn:
        raise EngineError(
            f"{fqrn} cannot be published here",
            where=str(store),
            why=f"the folder is the store of {manifest.fqrn}",
            cure="name another folder, or remove this one",
        )
    return manifest


def _compress(root: Node, objects: Objects, progress: Progress) -> None:
    """Makes the objects of all files."""
    saved = time.monotonic()
    with closing(Known()) as known, ThreadPoolExecutor(os.cpu_count()) as pool:
        unknown = [file for file in root.files() if not _reuse(file, known, objects)]
        # Releases have files in common, by hard links.
        once = {file.identity: file for file in unknown}
        new = sorted(once.values(), key=lambda file: -file.size)
        done, total = 0, sum(file.size for file in new)
        try:
            # zlib and SHA-1 let other threads run.
            for file, _ in zip(new, pool.map(lambda file: _make(file, objects), new), strict=True):
                for name in file.pieces:
                    known.kept.take(objects, name, _kind(file))
                known.remember(file)
                done += file.size
                progress.at(f"compress {total / 1e6:.0f} MB, {done * 10 // (total or 1) * 10} %")
                if time.monotonic() - saved > _SAVE_SECONDS:
                    known.save()
                    saved = time.monotonic()
            for file in unknown:
                file.pieces = once[file.identity].pieces
        finally:
            pool.shutdown(cancel_futures=True)
            known.save()


def _reuse(file: Node, known: Known, objects: Objects) -> bool:
    """Takes the objects of a file that were made before, if they are there, or were for another store."""
    file.pieces = known.pieces(file)
    kind = _kind(file)
    return bool(file.pieces) and all(
        objects.has(name, kind) or objects.take(known.kept, name, kind) for name in file.pieces
    )


def _make(file: Node, objects: Objects) -> None:
    """Makes the objects of a file, one piece in memory at a time."""
    with file.source.open("rb") as opened:
        file.pieces = [objects.put(opened.read(size), _kind(file)) for _, size in file.chunks()]
        now = identity(os.fstat(opened.fileno()))
    if now != file.identity:
        raise EngineError(
            "nothing new is published",
            where=str(file.source),
            why="the file changed while it was read",
            cure="publish again when nothing writes there",
        )


def _kind(file: Node) -> Kind:
    return Kind.CHUNK if file.is_chunked else Kind.FILE


def _revision(root: Node, objects: Objects, before: Manifest | None, fqrn: str, keys: Keys) -> Manifest:
    """Makes catalogs and history; gives the manifest of before when they say nothing new."""
    certificate = objects.put(keys.certificate.encode(), Kind.CERTIFICATE)
    snapshots: list[Snapshot] = []
    if before and objects.has(before.history, Kind.HISTORY):
        snapshots = history.read(objects.get(before.history, Kind.HISTORY))
        as_before = _with_former(root, snapshots[:-1], objects)
        same = root_catalog(as_before, objects, revision=before.revision, published=before.published)
        if objects.name(same) == before.root:
            return replace(before, certificate=certificate)
    revision, now = before.revision + 1 if before else 1, int(time.time())
    content = root_catalog(_with_former(root, snapshots, objects), objects, revision=revision, published=now)
    newest = Snapshot(revision, objects.put(content, Kind.CATALOG), len(content), now)
    past = objects.put(history.write(fqrn, [*snapshots, newest]), Kind.HISTORY)
    return Manifest(fqrn, revision, now, newest.root, newest.root_size, certificate, past)


def _with_former(root: Node, snapshots: Sequence[Snapshot], objects: Objects) -> Node:
    """The tree, and beside it what links of the last revisions led to."""
    found: dict[bytes, str] = {}
    for snapshot in snapshots[-FORMER:]:
        if objects.has(snapshot.root, Kind.CATALOG):
            found |= linked_in(objects.get(snapshot.root, Kind.CATALOG))
    own = {node.path for node in root.children}
    former = [
        Node(path=path, mode=stat.S_IFDIR, mtime_ns=0, catalog=catalog)
        for path, catalog in sorted(found.items())
        if path not in own and objects.has(catalog, Kind.CATALOG)
    ]
    return replace(root, children=[*root.children, *former])


def _is(file: Path, content: bytes) -> bool:
    """Whether a file has this content."""
    return file.exists() and file.read_bytes() == content

"""Frees a store of what only old revisions need."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engine import cache
from software import catalog, history, sealed
from software.keys import Keys
from software.objects import Kind, Objects
from software.sealed import Manifest


def keep_newest(store: Path, keys: Keys, revisions: int) -> int:
    """Removes all objects that none of the newest `revisions` needs; gives the bytes that were freed.

    The newest is always kept. Clients that still have an older one mounted get errors for what they have not read yet:
    keep as many as were published while a session may last.
    """
    with cache.lock("software", "removing old revisions", lambda _: None):
        manifest = Manifest.read(store)
        if manifest is None:
            return 0
        objects = Objects(store)
        kept = history.read(objects.get(manifest.history, Kind.HISTORY))[-max(revisions, 1) :]
        objects.begin()
        past = objects.put(history.write(manifest.fqrn, kept), Kind.HISTORY)
        objects.end()
        # The history first: a reader of the store never finds a revision in it that is gone.
        if past != manifest.history:
            sealed.write(store / sealed.MANIFEST, replace(manifest, history=past).sealed(keys))
        needed = {objects.path(past, Kind.HISTORY), objects.path(manifest.certificate, Kind.CERTIFICATE)}
        for snapshot in kept:
            _need(snapshot.root, objects, needed)
        superfluous = objects.all() - needed
        freed = sum(file.stat().st_size for file in superfluous)
        for file in superfluous:
            file.unlink()
        return freed


def _need(name: str, objects: Objects, needed: set[Path]) -> None:
    """Adds a catalog, and all that it names, to what is needed."""
    file = objects.path(name, Kind.CATALOG)
    if file in needed:
        return
    needed.add(file)
    content = objects.get(name, Kind.CATALOG)
    needed.update(objects.path(*found) for found in catalog.contents_in(content))
    for nested in catalog.nested_in(content):
        _need(nested, objects, needed)

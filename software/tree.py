"""What is to be published: folders of this computer, each at its path in the repository, as one tree of nodes.

A node says what a catalog will say of it. Owners are not kept: numbers of users mean nothing on another computer.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.errors import EngineError

# A folder with this file in it gets a catalog of its own. The file is published, too: CVMFS's tools look for it.
MARK = b".cvmfscatalog"
# A longer file is cut into pieces of this length, so that reading some of it does not bring all of it.
CHUNK_BYTES = 8 << 20


@dataclass(eq=False, slots=True, kw_only=True)
class Node:
    """A folder, a file or a symbolic link."""

    path: bytes
    """From the repository's root, which is empty: `/a/b`."""
    mode: int
    mtime_ns: int
    size: int = 0
    source: Path = Path()
    """Where it is on this computer."""
    identity: tuple[int, ...] = ()
    """What is another for another content, as far as the file system can tell."""
    target: bytes = b""
    """Where a symbolic link leads."""
    nested: bool = False
    """Whether it begins a catalog of its own."""
    catalog: str = ""
    """The name of that catalog, of a folder that a former revision had: all of it is published already."""
    children: list[Node] = field(default_factory=list)
    pieces: Sequence[str] = ()
    """The names of a file's objects, in order, once they are made."""

    @property
    def is_directory(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_chunked(self) -> bool:
        """Whether it is a file of several objects."""
        return self.size > CHUNK_BYTES

    @property
    def subfolders(self) -> int:
        """How many folders it has."""
        return sum(child.is_directory for child in self.children)

    def chunks(self) -> Iterator[tuple[int, int]]:
        """Offset and size of each piece of a file; an empty file is one empty piece."""
        for offset in range(0, self.size or 1, CHUNK_BYTES):
            yield offset, min(CHUNK_BYTES, self.size - offset)

    def files(self) -> Iterator[Node]:
        """All files from here on."""
        for node in self.children:
            if node.is_directory:
                yield from node.files()
            elif not node.is_link:
                yield node


def plant(trees: Mapping[str, Path], links: Mapping[str, str]) -> Node:
    """One tree of all: `{"": folder}` for a whole repository, else paths below the root, none within another.

    Args:
        trees: Folders of this computer by their path.
        links: Symbolic links at the root, each the name of one of the trees there.

    Raises:
        EngineError: A path or a folder cannot be published.
    """
    for path in trees:
        _check(path, trees)
    if "" in trees:
        return _grow(b"", trees[""])
    newest = max((folder.stat().st_mtime_ns for folder in trees.values()), default=0)
    root = _lead(b"", newest)
    for name, tree in links.items():
        _check_link(name, tree, trees)
        link = Node(path=b"/" + os.fsencode(name), mode=stat.S_IFLNK | 0o777, mtime_ns=newest)
        link.target = os.fsencode(tree)
        link.size = len(link.target)
        root.children.append(link)
    for path, folder in sorted(trees.items()):
        place = root
        *above, last = os.fsencode(path).split(b"/")
        for part in above:
            inner = place.path + b"/" + part
            if not any(child.path == inner for child in place.children):
                place.children.append(_lead(inner, newest))
            place = next(child for child in place.children if child.path == inner)
        place.children.append(_grow(place.path + b"/" + last, folder))
    return root


def _check(path: str, trees: Mapping[str, Path]) -> None:
    pure = PurePosixPath(path)
    if path and (pure.is_absolute() or str(pure) != path or ".." in pure.parts or not pure.parts):
        why = "it is absolute, or goes up, or has more slashes and dots than it needs"
    elif within := [other for other in trees if other != path and pure.is_relative_to(other)]:
        why = f"it lies within {within[0]!r}, which is another tree"
    elif not trees[path].is_dir():
        why = f"there is no folder {trees[path]}"
    else:
        return
    raise EngineError(
        f"nothing can be published at {path!r}",
        where="the trees of a repository",
        why=why,
        cure='name folders that are there, by paths such as "releases/2026a"',
    )


def _check_link(name: str, tree: str, trees: Mapping[str, Path]) -> None:
    if tree not in trees or "/" in f"{name}{tree}" or name in trees:
        raise EngineError(
            f"{name!r} cannot be a link to {tree!r}",
            where="the links of a repository",
            why="it is the name of a tree itself, or that is no tree at the root",
            cure="let it lead to one of the trees, by a name of its own",
        )


def _lead(path: bytes, mtime_ns: int) -> Node:
    """A folder that only leads to trees."""
    return Node(path=path, mode=stat.S_IFDIR | 0o755, mtime_ns=mtime_ns)


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Number, size and both times (of content and of status), as git's index tells files from changed ones."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _grow(path: bytes, source: Path) -> Node:
    """A folder with all that is below it, in the order of names."""
    status = source.stat()
    root = Node(path=path, mode=status.st_mode, mtime_ns=status.st_mtime_ns, source=source)
    for found in sorted(os.scandir(source), key=lambda found: os.fsencode(found.name)):
        name = path + b"/" + os.fsencode(found.name)
        status = found.stat(follow_symlinks=False)
        node = Node(path=name, mode=status.st_mode, mtime_ns=status.st_mtime_ns, source=Path(found.path))
        if node.is_directory:
            node = _grow(name, Path(found.path))
        elif node.is_link:
            node.target = os.fsencode(os.readlink(found.path))
            node.size = len(node.target)
        elif stat.S_ISREG(node.mode):
            node.size, node.identity = status.st_size, identity(status)
        else:
            raise EngineError(
                "this cannot be published",
                where=found.path,
                why="it is neither a file nor a folder nor a symbolic link",
                cure="remove it",
            )
        root.nested |= bool(path) and os.fsencode(found.name) == MARK
        root.children.append(node)
    return root

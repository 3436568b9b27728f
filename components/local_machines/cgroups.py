"""The control groups of local machines: one subtree for each, named like the machine, in every hierarchy.

Without it all kubelets of a host would share /kubepods, and all systemds /system.slice. A host has either the
unified hierarchy (cgroup v2), or one for each controller (v1), or both; each is treated alike:

    <hierarchy>/cygnet-<stack>-<machine>            the machine's limits
    <hierarchy>/cygnet-<stack>-<machine>/machine    what the machine sees as "/"; made anew at each start, because
                                                    cgroups of a killed machine stay, and kubelet spends seconds on each
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from components.local_machines.host import HostError
from components.local_machines.names import Label

INSIDE = "machine"
_REMOVAL_SECONDS = 10.0


@dataclass(frozen=True)
class Hierarchy:
    """One mounted tree of cgroups. `controllers` is empty for a v1 tree that only names processes, and for v2."""

    path: Path
    unified: bool
    controllers: frozenset[str] = frozenset()


def hierarchies(mountinfo: str | None = None) -> list[Hierarchy]:
    """The trees that this host has under /sys/fs/cgroup.

    >>> hierarchies("31 24 0:27 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw")
    [Hierarchy(path=PosixPath('/sys/fs/cgroup'), unified=True, controllers=frozenset())]
    """
    found = {}
    for line in (Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo).splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4])
        kind, _source, options = after.split(maxsplit=2)
        if kind in ("cgroup", "cgroup2") and point.is_relative_to("/sys/fs/cgroup"):
            controllers = frozenset(options.split(",")) if kind == "cgroup" else frozenset()
            found[point] = Hierarchy(point, kind == "cgroup2", controllers - {"rw", "ro"})
    return list(found.values())


def prepare(label: Label, memory_mib: int) -> list[Path]:
    """Makes a machine's subtree with its limits; returns the cgroups that its first process has to enter.

    Raises:
        HostError: The kernel refuses.
    """
    entered = []
    for tree in hierarchies():
        top = tree.path / str(label)
        try:
            if tree.unified:
                _delegate(tree.path)
            top.mkdir(exist_ok=True)
            if tree.unified:
                _delegate(top)
            if "cpuset" in tree.controllers:
                # A new cpuset is empty and takes no process; cloning makes those below it start with ours.
                (top / "cgroup.clone_children").write_text("1")
                for name in ("cpuset.cpus", "cpuset.mems"):
                    (top / name).write_text((tree.path / name).read_text())
        except OSError as error:
            raise HostError(f"{label}: no cgroup can be made in {tree.path} ({error}); is this a container?") from error
        entered.append(top / INSIDE)
    limit_memory(label, memory_mib)
    return entered


def limit_memory(label: Label, memory_mib: int) -> None:
    """Sets the machine's memory limit, while it runs too.

    Raises:
        HostError: The machine uses more than that and cannot give it back.
    """
    for tree in hierarchies():
        for name in ("memory.max", "memory.limit_in_bytes"):
            file = tree.path / str(label) / name
            if file.exists():
                try:
                    file.write_text(str(memory_mib << 20))
                except OSError as error:
                    raise HostError(
                        f"{label}: uses more than the new limit of {memory_mib} MiB ({error}); "
                        "stop what runs on it, or raise memory_gib"
                    ) from error


def memory_limit_mib(label: Label) -> int | None:
    """The limit in force, or None without a memory controller."""
    for tree in hierarchies():
        for name in ("memory.max", "memory.limit_in_bytes"):
            file = tree.path / str(label) / name
            if file.exists():
                text = file.read_text().strip()
                return None if text == "max" else int(text) >> 20
    return None


def members(label: Label) -> set[int]:
    """All processes of a machine, by the host's numbers."""
    return {pid for top in _tops(label) for folder in _below(top) for pid in _processes(folder)}


def remove(label: Label) -> None:
    """Kills what is left of a machine and removes its subtrees. Does nothing when they are not there.

    Raises:
        HostError: A process does not die.
    """
    deadline = time.monotonic() + _REMOVAL_SECONDS
    while tops := _tops(label):
        for pid in members(label):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for folder in (folder for top in tops for folder in _below(top)):
            with contextlib.suppress(OSError):  # busy until the last process in it has been reaped
                folder.rmdir()
        if time.monotonic() > deadline:
            raise HostError(f"{label}: processes {sorted(members(label))} do not end; see dmesg, then try again")
        if _tops(label):
            time.sleep(0.05)


def labels() -> set[Label]:
    """The machines that have a cgroup on this host, whether they run or not."""
    found = {Label.parse(folder.name) for tree in hierarchies() for folder in tree.path.glob("cygnet-*")}
    return {label for label in found if label}


def _tops(label: Label) -> list[Path]:
    return [top for tree in hierarchies() if (top := tree.path / str(label)).is_dir()]


def _below(top: Path) -> Iterator[Path]:
    """A cgroup and those inside it, innermost first."""
    for folder, _folders, _files in os.walk(top, topdown=False):
        yield Path(folder)


def _processes(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _delegate(folder: Path) -> None:
    """Lets cgroup v2's controllers be used below a folder, each that can be."""
    for controller in (folder / "cgroup.controllers").read_text().split():
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")

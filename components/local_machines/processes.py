"""The processes of a local machine, found by what they are: a process list cannot be out of date, a pid file can.

supervisor.py <folder>                          one for each machine that should be running
  systemd-nspawn ... --directory=<folder>/root
    systemd                                     the machine's process 1
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.local_machines import names
from components.local_machines.names import Label

SUPERVISOR: Final = Path(__file__).with_name("supervisor.py")


@dataclass(frozen=True)
class Processes:
    """The host's numbers of a machine's processes; None for one that is not there."""

    supervisor: int | None = None
    nspawn: int | None = None
    first: int | None = None

    @property
    def well(self) -> bool:
        """Whether the machine is up, and a reboot inside would be served."""
        return None not in (self.supervisor, self.nspawn, self.first)


def of(folder: Path) -> Processes:
    """The processes of the machine in `folder`."""
    supervisor = nspawn = None
    for pid, command in _commands():
        if _supervised(command) == folder:
            supervisor = pid
        elif nspawn is None and _contained(command) == folder:  # its first child has the same command for a moment
            nspawn = pid
    return Processes(supervisor, nspawn, _first(nspawn) if nspawn else None)


def labels() -> set[Label]:
    """The machines that have a supervisor or a systemd-nspawn on this host."""
    found = set()
    for _pid, command in _commands():
        folder = _supervised(command) or _contained(command)
        if folder and folder.parent.name == "machines" and folder.parent.parent.parent == names.STATE:
            found.add(Label(folder.parent.parent.name, folder.name))
    return found


def _commands() -> Iterator[tuple[int, list[str]]]:
    """Each process of the host, with its command line."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                line = Path(entry, "cmdline").read_bytes()
            except OSError:  # it ended just now
                continue
            if line:
                yield int(entry.name), line.decode(errors="replace").rstrip("\0").split("\0")


def _supervised(command: list[str]) -> Path | None:
    """The folder of the machine that a command supervises.

    >>> _supervised(["python3", "-I", "-S", "/somewhere/supervisor.py", "/var/lib/cygnet/s/machines/worker-1"]).name
    'worker-1'
    """
    ours = (
        len(command) > 1 and Path(command[-2]).name == SUPERVISOR.name and Path(command[-1]).is_relative_to(names.STATE)
    )
    return Path(command[-1]) if ours else None


def _contained(command: list[str]) -> Path | None:
    """The folder of the machine that a systemd-nspawn runs."""
    if Path(command[0]).name != "systemd-nspawn":
        return None
    directory = next(
        (Path(word.removeprefix("--directory=")) for word in command if word.startswith("--directory=")), None
    )
    return directory.parent if directory and directory.is_relative_to(names.STATE) else None


def _first(nspawn: int) -> int | None:
    """The child of systemd-nspawn that is process 1 in a namespace of its own."""
    try:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text().splitlines()
            numbers = next(line.split()[1:] for line in status if line.startswith("NSpid:"))
            if len(numbers) > 1 and numbers[-1] == "1":
                return int(child)
    except (OSError, StopIteration):
        pass
    return None

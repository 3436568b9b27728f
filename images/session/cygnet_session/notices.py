"""What users should know of their folders: that software or files do not answer, or that their home is almost full.

Each folder is asked by a child process with a deadline, for what a hung mount holds cannot be interrupted. A child that
misses it is left to itself, and no other is sent until it ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEADLINE_SECONDS = 5
FULL_PERCENT = 90
GIB = 2**30

SOFTWARE = "The software repository does not answer since {since}; cells that import new modules wait. \
It is being repaired."
FILES = "Your files do not answer since {since}; what reads or saves them waits. They are being repaired."
FULL = "Your home is {percent} % full: {used:.1f} of {all:.1f} GiB. Remove what you do not need: when it is full, \
nothing can be saved."


@dataclass(frozen=True)
class Notice:
    """Something to be told as long as it is so.

    Attributes:
        id: What it is about; a notice with the same id takes the place of the former.
        text: In words; {since} and {until} stand for times, which the browser writes as its user does. JupyterLab shows
            140 characters.
        since: Seconds since 1970, where the text has it.
        until: Likewise.
        keep: Whether it goes when the user is there, by a button.
    """

    id: str
    text: str
    since: float | None = None
    until: float | None = None
    keep: bool = False


@dataclass(frozen=True)
class Room:
    """How much fits into a folder, in bytes, and how much is left."""

    all: int
    free: int


class Folder:
    """A folder below a mount, and since when it does not answer (seconds since 1970)."""

    def __init__(self, path: str, mount: str) -> None:
        self.path, self.mount = path, mount
        self.silent_since: float | None = None
        self.room = Room(0, 0)
        self._child: asyncio.subprocess.Process | None = None

    async def look(self) -> None:
        """Asks it, unless it was asked already and does not answer."""
        asked = time.time()
        room = await self._ask()
        if room is None:
            self.silent_since = self.silent_since or asked
        else:
            self.silent_since, self.room = None, room

    async def _ask(self) -> Room | None:
        if self._child is not None and self._child.returncode is None:
            return None
        if self.mount not in mounted(Path("/proc/self/mountinfo").read_text()):
            return None
        # By its full path and without an environment: PATH and LD_LIBRARY_PATH lead through the software. A program
        # that is looked for there, while that hangs, would hold up the server itself.
        self._child = await asyncio.create_subprocess_exec(
            "/usr/bin/stat", "--file-system", "--format=%S %b %a", self.path, env={},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                said, _ = await self._child.communicate()
        except TimeoutError:
            self._child.kill()  # it ends when the mount lets it
            return None
        if self._child.returncode:
            return None
        block, blocks, free = map(int, said.split())
        return Room(block * blocks, block * free)


class Watch:
    """What is told of a session's folders. It looks when it is asked, so a session that nobody sees costs nothing."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.software = software_folder(environment)
        self.home = home_folder(environment)
        self._looking = asyncio.Lock()

    async def notices(self) -> list[Notice]:
        """What is to be told now; it takes no longer than the deadline."""
        folders = [folder for folder in (self.software, self.home) if folder]
        async with self._looking:
            await asyncio.gather(*(folder.look() for folder in folders))
        found = []
        if self.software and self.software.silent_since:
            found.append(Notice("software", SOFTWARE, self.software.silent_since))
        if self.home and self.home.silent_since:
            found.append(Notice("files", FILES, self.home.silent_since))
        elif self.home and (text := almost_full(self.home.room)):
            found.append(Notice("home", text))
        return found


def software_folder(environment: Mapping[str, str]) -> Folder | None:
    """The repository of the software that the session has, if it has some."""
    parts = Path(environment.get("CYGNET_VIEW", "")).parts
    repository = str(Path(*parts[:3]))
    return Folder(repository, mount=repository) if parts[:2] == ("/", "cvmfs") else None


def home_folder(environment: Mapping[str, str]) -> Folder | None:
    """The user's home, where it lies below /eos; a home elsewhere has no quota."""
    home = environment.get("HOME", "")
    return Folder(home, mount="/eos") if Path(home).parts[:2] == ("/", "eos") else None


def mounted(mountinfo: str) -> set[str]:
    """Where something is mounted, from the kernel's list."""
    return {line.split()[4] for line in mountinfo.splitlines()}


def almost_full(room: Room) -> str:
    """What to say of a home of which little is left; nothing of others.

    >>> almost_full(Room(all=10 * GIB, free=GIB // 2))[:42]
    'Your home is 95 % full: 9.5 of 10.0 GiB. R'
    """
    used = room.all - room.free
    if not room.all or used * 100 < FULL_PERCENT * room.all:
        return ""
    return FULL.format(percent=used * 100 // room.all, used=used / GIB, all=room.all / GIB)

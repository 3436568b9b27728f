"""Whether Linux ended a program of the session because that used more memory than it may.

Linux counts them for each cgroup: in memory.events since version 2, in memory.oom_control before.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from cygnet_session.notices import GIB, Notice

CGROUP = Path("/sys/fs/cgroup")
FILES = ("memory.events", "memory/memory.oom_control")
TOLD_SECONDS = 3600

WORDS = "A kernel or program of yours was ended at {since}: it wanted more than the {limit} GiB of this session. Use \
less at once, or a larger size."


class Memory:
    """Knows since when one was ended; looks when it is asked."""

    def __init__(self, environment: Mapping[str, str], cgroup: Path = CGROUP) -> None:
        """Begins to count; MEM_LIMIT is what the hub says that the session may use, in bytes."""
        self._limit = int(environment.get("MEM_LIMIT") or 0)
        self._cgroup = cgroup
        self._ended = ended(cgroup)
        self._ended_at = 0.0

    def look(self) -> None:
        """Notes the time when another one was ended."""
        if (count := ended(self._cgroup)) > self._ended:
            self._ended, self._ended_at = count, time.time()

    def notices(self) -> list[Notice]:
        """What to say of the last one, for an hour; each has an id of its own, so that the next one is shown, too."""
        self.look()
        if not self._limit or time.time() - self._ended_at > TOLD_SECONDS:
            return []
        words = WORDS.replace("{limit}", f"{self._limit / GIB:.3g}")
        return [Notice(f"memory-{self._ended}", words, since=self._ended_at)]


def ended(cgroup: Path) -> int:
    """How many programs were ended so far; 0 where Linux does not say."""
    for file in FILES:
        try:
            lines = (cgroup / file).read_text().splitlines()
        except OSError:
            continue
        return int(next((line.split()[1] for line in lines if line.startswith("oom_kill ")), 0))
    return 0

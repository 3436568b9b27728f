"""What a program and all that it started use of the computer, as Linux counts it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What is used.

    Attributes:
        cpu_seconds: Of processors, since the program began.
        mib: Of memory that is no file's.
    """

    cpu_seconds: float
    mib: float


def usage(process: int) -> Usage:
    """What the program `process` uses, with all that it started and that runs."""
    ticks, kib = 0, 0
    for one in _family(process):
        try:
            # After the name, which may have spaces: user and system time are fields 14 and 15 of proc_pid_stat(5),
            # those of ended children 16 and 17.
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            status = Path(f"/proc/{one}/status").read_text().splitlines()
        except OSError:  # it ended just now
            continue
        kib += sum(int(line.split()[1]) for line in status if line.startswith(("RssAnon:", "RssShmem:")))
    return Usage(ticks / _TICKS, kib / 1024)


def _family(process: int) -> Iterator[int]:
    yield process
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from _family(int(child))

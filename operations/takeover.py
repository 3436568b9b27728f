"""Takes a stack over from an earlier Pulumi: waits for a living one, and clears away what a killed one left.

That is its lock, where the state is in files of this computer (other backends keep locks of their own), and the
processes that it had started.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from components.base import PROJECT
from engine import folders
from operations import orphans
from operations.stack import Stack

_CLOCK_SECONDS = 2
"""How far two readings of one moment may be apart: the start of the computer is known in whole seconds."""


def take_over(stack: Stack) -> None:
    """Returns when nobody else on this computer works on the stack, or is left over from such work.

    Raises:
        CygnetError: The lock of a dead Pulumi cannot be taken away.
    """
    said = False
    while living := [lock["pid"] for lock in locks(stack.name) if is_held(lock)]:
        if not said:
            said = True
            print(f"waiting for another 'pulumi' of stack {stack.name} to end (process {living[0]})", flush=True)
        time.sleep(1)
    if ended := orphans.end(stack.file.parent):
        print(f"processes of a killed 'pulumi' that went on without it: {ended}, ended now", flush=True)
    if any(locks(stack.name)) and stack.exists():
        print(f"an earlier 'pulumi' of stack {stack.name} was killed; going on from where it was", flush=True)
        stack.pulumi("cancel", "--yes")


def locks(stack: str) -> Iterator[dict[str, Any]]:
    """What Pulumi wrote into the locks that processes of this computer, living or dead, hold on a stack."""
    for file in backend_folder().glob(f".pulumi/locks/*/{PROJECT}/{stack}/*.json"):
        with suppress(FileNotFoundError):  # given back just now
            lock: dict[str, Any] = json.loads(file.read_text())
            if lock["hostname"] == socket.gethostname():
                yield lock


def is_held(lock: dict[str, Any]) -> bool:
    """Whether the process that took a lock is alive: one that started later only has its number."""
    since = started(lock["pid"])
    return since is not None and since <= datetime.fromisoformat(lock["timestamp"]).timestamp() + _CLOCK_SECONDS


def started(pid: int) -> float | None:
    """When a process started, in seconds since the epoch; None if it has ended."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    boot = next(
        int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line.startswith("btime")
    )
    return None if state == "Z" else boot + int(fields[18]) / os.sysconf("SC_CLK_TCK")


def backend_folder() -> Path:
    """Where the file backend is; a folder that does not exist for any other backend."""
    url = urlparse(os.environ.get("PULUMI_BACKEND_URL", f"file://{folders.state()}/pulumi"))
    return Path(url.path) if url.scheme == "file" else Path("/nonexistent")

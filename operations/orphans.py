"""Processes that go on after their Pulumi was killed: the project's program, and the plugins that serve it.

Some of them ask after their engine every five minutes. A Python provider never does: it stays for good, and goes on
with what it was doing while the next Pulumi begins the same. All have the address of their engine, on this computer,
among their arguments; when nobody listens there any more, the engine is dead.
"""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PLUGIN = re.compile(r"(.*/)?pulumi-(language|resource)-[\w-]+|pulumi\.dynamic")
_ADDRESS = re.compile(r"127\.0\.0\.1:(\d+)")
_LISTENING = "0A"  # as Linux writes it
_PATIENCE_SECONDS = 10


def end(folder: Path) -> int:
    """Ends the orphans of the project whose program is in `folder`; returns how many there were.

    What is still there after ten seconds is killed, and not waited for longer than ten more.
    """
    ended: set[int] = set()
    begin = time.monotonic()
    while (found := set(orphans(folder))) and (waited := time.monotonic() - begin) < 2 * _PATIENCE_SECONDS:
        ended |= found
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGTERM if waited < _PATIENCE_SECONDS else signal.SIGKILL)
        time.sleep(0.1)
    return len(ended)


def orphans(folder: Path) -> Iterator[int]:
    """The numbers of the orphans of the project whose program is in `folder`."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended just now, or is somebody else's
            ports = engine_ports((process / "cmdline").read_bytes().decode(errors="replace").split("\0"))
            # Pulumi runs all of them where the program is.
            if ports and (process / "cwd").samefile(folder) and not ports & _listening(process):
                yield int(process.name)


def engine_ports(command: list[str]) -> set[int]:
    """The ports at which the engine of a plugin listens, or did; none for any other command.

    >>> engine_ports(["/bin/sh", "/opt/pulumi/pulumi-resource-pulumi-python", "127.0.0.1:43731"])
    {43731}
    >>> engine_ports(["python", "-u", "-m", "pulumi.dynamic", "127.0.0.1:43731"])
    {43731}
    >>> engine_ports(["curl", "127.0.0.1:43731"])
    set()
    """
    if not any(_PLUGIN.fullmatch(word) for word in command):
        return set()
    return {int(found[1]) for word in command if (found := _ADDRESS.fullmatch(word))}


def _listening(process: Path) -> set[int]:
    """The TCP ports at which somebody listens where the process is: in a container, others than here."""
    _head, *sockets = (process / "net/tcp").read_text().splitlines()
    fields = [socket.split() for socket in sockets]
    return {int(field[1].partition(":")[2], 16) for field in fields if field[3] == _LISTENING}

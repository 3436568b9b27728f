"""Stops a program in the middle of what it does, and lets it go on: one that hangs."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator


def halt(process: subprocess.Popen[bytes] | None) -> None:
    """Stops a child of this process; it does nothing any more when this returns.

    The signal alone returns while its threads still run, and one of them may answer once more.
    """
    assert process
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)


def go_on(process: subprocess.Popen[bytes] | None) -> None:
    assert process
    process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def halted(process: subprocess.Popen[bytes] | None) -> Iterator[None]:
    """A server takes connections meanwhile, by its kernel, and says nothing."""
    halt(process)
    try:
        yield
    finally:
        go_on(process)

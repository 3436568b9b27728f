"""Programs that hang, stopped in the middle of what they do, and servers that are away; for a while."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Protocol


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


class Server(Protocol):
    """What can be stopped and started again, with what it keeps."""

    def start(self) -> None: ...
    def stop(self) -> None: ...


@contextlib.contextmanager
def away(server: Server) -> Iterator[None]:
    """It does not answer meanwhile."""
    server.stop()
    try:
        yield
    finally:
        server.start()

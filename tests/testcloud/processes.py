"""The cloud's own processes: each in a session of its own, found again by its number and the time of its start."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from components.errors import CygnetError
from tests.testcloud import names

_END_SECONDS: Final = 20.0
_ANSWER_SECONDS: Final = 180.0


class CloudError(CygnetError):
    """The test cloud does not do what it should; the message says where more is written."""


def start(name: str, argv: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Starts a process that goes on without us; what it says is in its log."""
    with (names.LOGS / f"{name}.out").open("wb") as log:
        process = subprocess.Popen(
            argv, env=os.environ | environment, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    (names.RUN / f"{name}.json").write_text(json.dumps([process.pid, _started(process.pid)]))


def running(name: str) -> int | None:
    """The number of a process that was started under this name, or None."""
    try:
        pid, started = json.loads((names.RUN / f"{name}.json").read_text())
    except (OSError, ValueError):
        return None
    return pid if started is not None and _started(pid) == started else None


def stop(name: str) -> None:
    """Ends a process, and kills it when it does not end."""
    deadline = time.monotonic() + _END_SECONDS
    sent = None
    while pid := running(name):
        wanted = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
        if sent != wanted:
            with suppress(ProcessLookupError):
                os.kill(pid, wanted)
            sent = wanted
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    (names.RUN / f"{name}.json").unlink(missing_ok=True)


def stop_all() -> None:
    """Ends all of them, the database last."""
    started = sorted((file.stem for file in names.RUN.glob("*.json")), key=lambda name: name == "mariadb")
    for name in started:
        if name != "mariadb" and (pid := running(name)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)  # all at once; then one after the other is waited for
    for name in started:
        stop(name)


def wait_for(name: str, answers: Callable[[], bool]) -> None:
    """Returns when a process answers.

    Raises:
        CloudError: It ended, or took too long; with the last lines that it said.
    """
    deadline = time.monotonic() + _ANSWER_SECONDS
    while not answers():
        ended = running(name) is None
        if ended or time.monotonic() > deadline:
            said = "\n".join((names.LOGS / f"{name}.out").read_text(errors="replace").splitlines()[-15:])
            what = "ended while it started" if ended else f"does not answer after {_ANSWER_SECONDS:.0f} s"
            kept = Path("/var/tmp") / f"{names.WORD}-log"  # noqa: S108 - for people, after all else is removed
            shutil.copytree(names.LOGS, kept, dirs_exist_ok=True)
            raise CloudError(f"test cloud: {name} {what}. It said:\n{said}\nIts logs are kept in {kept}.")
        time.sleep(0.1)


def listens(port: int) -> bool:
    """Whether something accepts connections on the loopback."""
    with socket.socket() as connection:
        connection.settimeout(1)
        return connection.connect_ex((names.LOOPBACK, port)) == 0


def _started(pid: int) -> int | None:
    """When a process started, in the kernel's ticks; None if it is not there, or has ended and waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else int(fields[19])

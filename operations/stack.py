"""A stack as operations see it: Pulumi's command line, and the stack's outputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from components.errors import CygnetError

PROJECT = Path(__file__).resolve().parent.parent


class Stack:
    """One stack by name, for example `local`, of this project or another one that is laid out like it."""

    def __init__(self, name: str, project: Path | None = None) -> None:
        self.name = name
        self.project = project or PROJECT
        self.file = self.project / "stacks" / f"Pulumi.{name}.yaml"

    def pulumi(self, *arguments: str, capture: bool = False) -> str:
        """Runs `pulumi ARGUMENTS --stack NAME` in its project; returns its output when captured.

        Raises:
            CygnetError: Pulumi ended with an error; unless captured, it has already said why.
        """
        command = [pulumi_program(), *arguments, "--stack", self.name, "--non-interactive"]
        pipe = subprocess.PIPE if capture else None
        # In a group of its own it hears of Ctrl-C from us alone: the second time it hears it, it drops all it does.
        with subprocess.Popen(
            command, cwd=self.project, text=True, stdout=pipe, stderr=pipe, process_group=0
        ) as process:
            try:
                output, complaint = process.communicate()
            except BaseException:
                _end(process)
                raise
        if process.returncode:
            # With --json Pulumi complains there.
            said = f": {(complaint.strip() or output.strip())[-1000:]}" if capture else ", see above"
            raise CygnetError(f"'pulumi {' '.join(arguments)}' of stack {self.name} failed{said}")
        return output or ""

    def require_file(self) -> None:
        """Returns when a file declares the stack.

        Raises:
            CygnetError: None does: the name is misspelt, or the file is still to be written.
        """
        if not self.file.exists():
            known = sorted(file.name.split(".")[1] for file in self.file.parent.glob("Pulumi.*.yaml"))
            raise CygnetError(
                f"no file declares the stack '{self.name}'; write stacks/{self.file.name}, or use one of: "
                f"{', '.join(known)}"
            )

    def exists(self) -> bool:
        """Whether the backend knows the stack."""
        listed = subprocess.run(
            [pulumi_program(), "stack", "ls", "--json"], cwd=self.project, text=True, capture_output=True, check=False
        )
        if listed.returncode:
            raise CygnetError(f"'pulumi stack ls' failed: {listed.stderr.strip()[-1000:]}")
        return any(stack["name"].split("/")[-1] == self.name for stack in json.loads(listed.stdout))

    def ensure(self) -> None:
        """Makes the backend know the stack."""
        if not self.exists():
            self.pulumi("stack", "init")

    def outputs(self) -> dict[str, Any]:
        """All outputs of the stack, secrets among them.

        Raises:
            CygnetError: The stack has none; it is not up.
        """
        found: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json", "--show-secrets", capture=True))
        if "url" not in found:
            raise CygnetError(f"stack {self.name} is not up; run '.venv/bin/cygnet up {self.name}'")
        return found


def _end(process: subprocess.Popen[str]) -> None:
    """Asks a Pulumi to end, and waits: killed, it would leave its lock, and processes that go on without it."""
    while process.poll() is None:
        with suppress(KeyboardInterrupt, SystemExit):  # once more: it shall not wait for what it is doing
            process.send_signal(signal.SIGINT)
            process.wait()


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of the environment, for the programs that are run meanwhile."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def pulumi_program() -> str:
    """The `pulumi` beside our Python, or the one on PATH.

    Raises:
        CygnetError: There is none.
    """
    beside = Path(sys.executable).parent / "pulumi"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("pulumi")
    if not found:
        raise CygnetError("there is no 'pulumi' here; run 'make tools'")
    return found

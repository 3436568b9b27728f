"""A stack as operations see it: Pulumi's command line, and the stack's outputs."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from components.errors import CygnetError

PROJECT = Path(__file__).resolve().parent.parent


class Stack:
    """One stack by name, for example `local`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.file = PROJECT / "stacks" / f"Pulumi.{name}.yaml"

    def pulumi(self, *arguments: str, capture: bool = False) -> str:
        """Runs `pulumi ARGUMENTS --stack NAME` in the project; returns its output when captured.

        Raises:
            CygnetError: Pulumi ended with an error; unless captured, it has already said why.
        """
        command = [pulumi_program(), *arguments, "--stack", self.name, "--non-interactive"]
        done = subprocess.run(command, cwd=PROJECT, text=True, capture_output=capture, check=False)
        if done.returncode:
            said = f": {done.stderr.strip()[-1000:]}" if capture else ", see above"
            raise CygnetError(f"'pulumi {' '.join(arguments)}' of stack {self.name} failed{said}")
        return done.stdout or ""

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
            [pulumi_program(), "stack", "ls", "--json"], cwd=PROJECT, text=True, capture_output=True, check=False
        )
        if listed.returncode:
            raise CygnetError(f"'pulumi stack ls' failed: {listed.stderr.strip()[-1000:]}")
        return any(stack["name"].split("/")[-1] == self.name for stack in json.loads(listed.stdout))

    def outputs(self) -> dict[str, Any]:
        """All outputs of the stack, secrets among them.

        Raises:
            CygnetError: The stack has none; it is not up.
        """
        found: dict[str, Any] = json.loads(self.pulumi("stack", "output", "--json", "--show-secrets", capture=True))
        if "url" not in found:
            raise CygnetError(f"stack {self.name} is not up; run 'pulumi up -s {self.name}'")
        return found


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

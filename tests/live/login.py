"""Signing in at the login machine, as a person does with ssh."""

import os
import shlex
import subprocess
from pathlib import Path

from tests.live.stack import LiveStack

ASKPASS = '#!/bin/sh\nprintf "%s\\n" "$PASSWORD_OF_THE_TEST"\n'


class Shell:
    """Someone with an account, at the login machine."""

    def __init__(self, stack: LiveStack, name: str, password: str, folder: Path) -> None:
        """
        Args:
            stack: Which has a login machine.
            name: Of the account.
            password: Tried once.
            folder: For what ssh needs as files.
        """
        told = stack.parts["login"]
        self.host, _, port = str(told["address"]).rpartition(":")
        (folder / "known_hosts").write_text(f"[{self.host}]:{port} {told['host_key']}\n")
        askpass = folder / "askpass"
        askpass.write_text(ASKPASS)
        askpass.chmod(0o700)
        self._environment = {
            "PATH": os.environ["PATH"],
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
            "PASSWORD_OF_THE_TEST": password,
        }
        self._options = [
            "-F", "none", "-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "StrictHostKeyChecking=yes",
            "-o", "NumberOfPasswordPrompts=1", "-o", f"Port={port}", "-o", f"User={name}", "-o", "ConnectTimeout=10",
        ]  # fmt: skip

    def run(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs a command line in a login shell there."""
        return self._run(["ssh", *self._options, *options, self.host, f"bash -lc {shlex.quote(command)}"])

    def copy(self, here: Path, there: str) -> subprocess.CompletedProcess[str]:
        """Copies a file to a path below the home."""
        return self._run(["scp", *self._options, str(here), f"{self.host}:{there}"])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip

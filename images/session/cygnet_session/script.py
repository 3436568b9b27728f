"""Runs a command with the variables that a user's script sets: python3 -I -m cygnet_session.script SCRIPT COMMAND...

The script is sourced by a bash of its own, for scripts of this field expect that one, and may hang, fail or leave. What
is wrong with it is said in the words by which a session says why it does not start.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

SECONDS = 60
REFUSED = "session refused: "
"""The hub shows what follows it to the user."""
SHOWN = 300
"""So many characters of what a script said last."""
_SOURCE = 'cd && . "$1" </dev/null >&2 && exec /usr/bin/env -0 >"$2"'
_CURE = "Mend it, or start without it."


class ScriptError(Exception):
    """The session cannot have what a script sets; the text says why, and what to do."""


def variables(script: str, environment: Mapping[str, str], seconds: float = SECONDS) -> dict[str, str]:
    """All variables after `script` was sourced.

    Args:
        script: A path; "~/" is the home.
        environment: Before that.
        seconds: How long it may take.

    Raises:
        ScriptError: It cannot be read, failed, left, or took too long.
    """
    file = Path(environment["HOME"]) / script[2:] if script.startswith("~/") else Path(script)
    if not file.is_file() or not os.access(file, os.R_OK):
        raise ScriptError(f"There is no script {script}, or it cannot be read. Correct its name, or start without it.")
    with tempfile.TemporaryDirectory() as folder:
        after, said = Path(folder) / "after", Path(folder) / "said"
        with said.open("wb") as errors:
            process = subprocess.Popen(
                ["/bin/bash", "-c", _SOURCE, "script", str(file), str(after)],
                env=environment, stderr=errors, start_new_session=True,
            )  # fmt: skip
            try:
                status = process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()
                raise ScriptError(f"The script {script} was not done after {seconds:g} s. {_CURE}") from None
        if status:
            raise ScriptError(f"The script {script} ended with status {status}{_last_words(said)}. {_CURE}")
        if not after.exists() or not after.read_bytes():
            raise ScriptError(f"The script {script} left the shell by exit instead of coming to its end. {_CURE}")
        pairs = (one.partition("=") for one in os.fsdecode(after.read_bytes()).split("\0") if one)
        return {name: value for name, _, value in pairs if name not in ("_", "SHLVL", "PWD", "OLDPWD")}


def _last_words(said: Path) -> str:
    lines = said.read_text(errors="replace").strip().splitlines()
    return f": {lines[-1][:SHOWN]}" if lines else ""


def main() -> NoReturn:
    """Takes the place of this process by the command."""
    script, *command = sys.argv[1:]
    try:
        environment = variables(script, os.environ)
    except ScriptError as error:
        sys.exit(f"{REFUSED}{error}")
    os.execvpe(command[0], command, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()

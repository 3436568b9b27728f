"""Daemons of a cluster on this computer: each can be ended without being asked, and started again."""

import subprocess
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path


class Daemons(ABC):
    """They, by their names.

    Args:
        folder: Where what they say goes; empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, ExitStack] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def program(self, name: str) -> AbstractContextManager["subprocess.Popen[bytes]"]:
        """One of them, while the block runs."""

    def start(self, *names: str) -> None:
        """Starts some."""
        for name in names:
            stack = ExitStack()
            self._processes[name] = stack.enter_context(self.program(name))
            self._running[name] = stack

    def log(self, name: str) -> Path:
        """What it said."""
        return self.folder / f"{name}.log"

    def said(self, name: str, words: str) -> int:
        """How many times it said that, all of its lives together; it is alive."""
        assert self._processes[name].poll() is None, self.log(name).read_text()[-2000:]
        return self.log(name).read_text().count(words)

    def kill(self, name: str) -> None:
        """Ends it as a machine does that loses its power."""
        self._running.pop(name).close()

    def close(self) -> None:
        """Ends all."""
        for name in list(self._running):
            self.kill(name)

"""What a person sees while tools are obtained: on a terminal a line that moves, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class Stream(Protocol):
    """What progress is written to: a text file, or what looks like one."""

    def write(self, text: str, /) -> object:
        """Takes a piece of text."""

    def flush(self) -> object:
        """Shows what was written."""

    def isatty(self) -> bool:
        """Whether a line can be written over."""


class Progress:
    """Shows the step at which one piece of long work is, and for how long the piece has taken."""

    def __init__(self, stream: Stream | None = None, every: float = 10.0) -> None:
        self.stream: Stream = stream or sys.stderr
        self.live = self.stream.isatty()
        self.every = 0.5 if self.live else every
        self._piece, self._step = "", ""
        self._started = self._shown = time.monotonic()

    def begin(self, piece: str) -> None:
        """From here on the seconds of `piece` are counted."""
        self._piece, self._step, self._started = piece, "", time.monotonic()

    def at(self, step: str) -> None:
        """The piece is at `step`: shown when the step is new, and again when the last line is old enough."""
        now = time.monotonic()
        if step == self._step and now - self._shown < self.every:
            return
        self._step, self._shown = step, now
        line = f"{self._piece}: {step}, {now - self._started:.0f} s"
        self._write(f"\r\033[K{line}" if self.live else f"{line}\n")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._write(f"\r\033[K{text}\n" if self.live else f"{text}\n")

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


@dataclass(frozen=True)
class Row:
    """How one tool was obtained; a line of the summary."""

    tool: str
    version: str
    source: str
    seconds: float
    megabytes: float


def summary(rows: Iterable[Row]) -> str:
    """The table that ends `python -m engine get`.

    >>> print(summary([Row("etcd", "3.6.14", "built", 57.2, 61.0)]))
    tool  version  source  seconds    MB
    etcd  3.6.14   built        57    61
    """
    rows = list(rows)
    texts = [("tool", "version", "source"), *((row.tool, row.version, row.source) for row in rows)]
    numbers = [("seconds", "MB"), *((f"{row.seconds:.0f}", f"{row.megabytes:.0f}") for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    left = ["  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)) for text in texts]
    return "\n".join(f"{text}  {seconds:>7}  {size:>4}" for text, (seconds, size) in zip(left, numbers, strict=True))

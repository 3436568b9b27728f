"""What the command lines of cygnet share: how a command ends, what is said then, and how a list looks."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

from engine.progress import Progress


def run(command: Callable[[Progress], object], error: type[Exception], stopped: str) -> int:
    """Runs a command; returns the exit status. 0: done, 1: an error was shown, 130: stopped by Ctrl-C.

    SIGTERM ends it with status 143, in the way of Ctrl-C: what the command has started ends, too.

    Args:
        command: What is run.
        error: The kind that is written for its reader, and shown without a traceback; any other is a fault of ours.
        stopped: What is said after Ctrl-C: what stays, and how to go on.
    """
    progress = Progress()
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        command(progress)
    except error as found:
        progress.say(f"\nerror: {found}")
        return 1
    except KeyboardInterrupt:
        progress.say(f"\nstopped; {stopped}")
        return 130
    finally:
        signal.signal(signal.SIGTERM, former)
    return 0


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines of text, in columns.

    >>> print(table([("stable", "built"), ("bleeding", "not built")]))
    stable    built
    bleeding  not built
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)

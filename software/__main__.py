"""python -m software: build views of releases, say what there is, find out what is worth reading first."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from engine import command_line
from engine.errors import EngineError
from engine.progress import summary
from software import build, prewarm
from software.releases import RELEASES, Release


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    chosen = parser().parse_args(argv)
    stopped = "what was downloaded stays, the same command goes on"
    return command_line.run(lambda progress: chosen.run(chosen, progress), EngineError, stopped)


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="python -m software", description="What users of cygnet compute with.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("build", help="build views of releases")
    make.add_argument("releases", nargs="*", metavar="NAME", help="a release (default: all)")
    make.set_defaults(run=lambda chosen, progress: print(summary(build.ensure_all(chosen.releases, progress))))

    show = commands.add_parser("list", help="show all releases and which are built")
    show.set_defaults(run=lambda *_: print(listing()))

    trim = commands.add_parser("trim", help="remove views of former releases, and wheels that none of today's needs")
    trim.set_defaults(run=lambda _, progress: build.trim(progress))

    warm = commands.add_parser("prewarm", help="write the list of what the first `import ROOT` reads of a release")
    warm.add_argument("release", metavar="NAME", help="a release")
    warm.set_defaults(run=lambda chosen, progress: print(f"{len(prewarm.record(chosen.release, progress))} files"))
    return top


def listing() -> str:
    """All releases with their keys, and which of them are built."""
    rows = [(name, release.key, state(release), release.title) for name, release in RELEASES.items()]
    return command_line.table(rows)


def state(release: Release) -> str:
    """One release's state in words."""
    return f"built, {build.megabytes(release):.0f} MB" if release.view.is_dir() else "not built"


if __name__ == "__main__":
    sys.exit(main())

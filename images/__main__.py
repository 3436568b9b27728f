"""python -m images: build images, say what there is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from engine import command_line
from engine.errors import EngineError
from engine.progress import summary
from images import build, catalogue


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    chosen = parser().parse_args(argv)
    stopped = "what was built stays, the same command goes on"
    return command_line.run(lambda progress: chosen.run(chosen, progress), EngineError, stopped)


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="python -m images", description="What runs in cygnet's containers.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    make = commands.add_parser("build", help="build images, and before them their parents")
    make.add_argument("images", nargs="*", metavar="NAME", help="an image (default: all)")
    make.set_defaults(run=lambda chosen, progress: print(summary(build.ensure_all(chosen.images, progress))))

    show = commands.add_parser("list", help="show all images, their tags and which are built")
    show.set_defaults(run=lambda *_: print(listing()))

    trim = commands.add_parser("trim", help="remove images of other versions and what makes building faster")
    trim.set_defaults(run=lambda _, progress: build.trim(progress))
    return top


def listing() -> str:
    """All images with their tags, and which of them are built."""
    rows = [(name, catalogue.tag(name), state(image)) for name, image in catalogue.images().items()]
    return command_line.table(rows)


def state(image: catalogue.Image) -> str:
    """One image's state in words."""
    return f"built, {build.megabytes(image):.0f} MB" if build.present(image) else "not built"


if __name__ == "__main__":
    sys.exit(main())

"""python -m engine: get the tools, say where they are, put them into a virtual environment."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import command_line, golang, host_packages, tools, venv
from engine.errors import EngineError
from engine.kinds import Recipe
from engine.progress import summary
from engine.recipes import RECIPES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    chosen = parser().parse_args(argv)
    stopped = "what was obtained stays, the same command goes on"
    return command_line.run(lambda progress: chosen.run(chosen, progress), EngineError, stopped)


def parser() -> argparse.ArgumentParser:
    """The commands and their arguments."""
    top = argparse.ArgumentParser(prog="python -m engine", description="Where cygnet's tools come from.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    get = commands.add_parser("get", help="obtain tools: from the store, from PATH, or by building them")
    get.add_argument(
        "tools", nargs="*", metavar="TOOL", help="a tool or one of its binaries (default: all but those on demand)"
    )
    get.set_defaults(run=lambda chosen, progress: print(summary(tools.get(chosen.tools, progress))))

    show = commands.add_parser("list", help="show all tools and which are in the store")
    show.set_defaults(run=lambda *_: print(listing()))

    path = commands.add_parser("path", help="print where a tool's binary is")
    path.add_argument("tool", metavar="TOOL")
    path.set_defaults(run=lambda chosen, _: print(tools.path(chosen.tool)))

    link = commands.add_parser("link", help="put pulumi, kubectl and Pulumi's plugins into a virtual environment")
    link.add_argument("venv", type=Path, metavar="VENV")
    link.set_defaults(run=lambda chosen, progress: venv.link(chosen.venv, progress))

    trim = commands.add_parser("trim", help="empty the compiler's caches; the tools stay")
    trim.set_defaults(run=lambda _, progress: golang.trim(progress))

    drop = commands.add_parser("drop-superseded", help="remove tools that no recipe makes any more")
    drop.set_defaults(run=lambda _, progress: tools.drop_superseded(progress))

    packages = commands.add_parser("host-packages", help="install the Debian packages that this computer needs")
    packages.add_argument("--tests", action="store_true", help="those of the tests too")
    packages.set_defaults(run=lambda chosen, progress: host_packages.ensure(tests=chosen.tests, progress=progress))
    return top


def listing() -> str:
    """All tools, and what making those cost that are in the store."""
    return command_line.table([(tool, recipe.version, state(recipe)) for tool, recipe in RECIPES.items()])


def state(recipe: Recipe) -> str:
    """One tool's state in words."""
    if not recipe.entry.present():
        return "not in the store"
    facts = recipe.entry.manifest()
    return f"{recipe.entry.megabytes():.0f} MB, made in {facts['seconds']} s ({facts['cpu_seconds']} s of CPU)"


if __name__ == "__main__":
    sys.exit(main())

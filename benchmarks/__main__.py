"""The command `python -m benchmarks`."""

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.bare import bare
from benchmarks.hub_scale import hub_databases, hub_scale
from benchmarks.kills import kills
from benchmarks.measures import MEASURES
from benchmarks.servers import preview, servers
from components.errors import CygnetError
from engine.errors import EngineError
from operations.stack import Stack
from tests.live.stack import LiveStack


def main() -> int:
    """Measures, and prints a line for each number; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast and how big a live stack is.")
    own = {measure.__name__: measure for measure in (bare, hub_databases, hub_scale, kills, preview, servers)}
    parser.add_argument("name", choices=[*MEASURES, *own], help="what is measured")
    parser.add_argument(
        "--stack", default="local", help=f"the stack, which is up (local); {' and '.join(own)} make their own"
    )
    parser.add_argument("--repetitions", type=int, default=10, help="how often (10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            if options.name in own:
                numbers = own[options.name](options.repetitions)
            else:
                stack = LiveStack.of(options.stack, Stack(options.stack).outputs(), Path(folder))
                numbers = MEASURES[options.name](stack, options.repetitions)
        except (CygnetError, EngineError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    for name, number in numbers.items():
        print(f"{options.name} {name} {number}")
    return 0


sys.exit(main())

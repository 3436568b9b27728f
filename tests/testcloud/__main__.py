"""The test cloud for people: `python -m tests.testcloud up|down|env`."""

import argparse
import sys

from components.errors import CygnetError
from engine.errors import EngineError
from engine.progress import Progress
from tests.testcloud import cloud, names


def main() -> None:
    """Runs one command."""
    parser = argparse.ArgumentParser(prog="python -m tests.testcloud", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for command, does in ((_up, "bring it up"), (_down, "remove it"), (_env, "print what clients need, for eval")):
        commands.add_parser(command.__name__[1:], help=does).set_defaults(command=command)
    try:
        parser.parse_args().command()
    except (CygnetError, EngineError) as error:
        sys.exit(str(error))


def _up() -> None:
    if cloud.is_up():
        sys.exit("The test cloud is up already, or tests use it. A new one: python -m tests.testcloud down, then up")
    seconds = cloud.up(Progress())
    print(f"The test cloud is up after {seconds:.0f} s. For clients: eval $(python -m tests.testcloud env)")


def _down() -> None:
    cloud.down()


def _env() -> None:
    if not cloud.is_up():
        sys.exit("The test cloud is not up; bring it up: python -m tests.testcloud up")
    print(f"export OS_CLIENT_CONFIG_FILE={names.CLOUDS} OS_CLOUD=demo")


if __name__ == "__main__":
    main()

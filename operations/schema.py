"""`cygnet schema`: what a stack file may say, for editors and for readers."""

import argparse
import json

from components import config
from operations import reference

NAME = "schema"
HELP = "print the JSON schema of a stack file, for an editor"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("--markdown", action="store_true", help="print the reference page instead")


def run(options: argparse.Namespace) -> None:
    """Prints the schema, or the page."""
    print(reference.page() if options.markdown else json.dumps(config.schema(), indent=2) + "\n", end="")

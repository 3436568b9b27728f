"""`cygnet link`: writes a link that opens a notebook of a git repository in the session of whoever follows it."""

import argparse
from urllib.parse import urlencode, urlsplit

from components.errors import CygnetError
from operations.stack import Stack

NAME = "link"
HELP = "write a link that brings a git repository into a session, and opens a notebook of it"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the repository, and what is to be opened of it in which session."""
    parser.add_argument("repository", help="as https://HOST/PATH")
    parser.add_argument("--open", metavar="PATH", default="", help="file or folder of the repository (default: all)")
    parser.add_argument("--branch", help="branch (default: the repository's own)")
    parser.add_argument("--release", help="software of the session (default: the user chooses)")


def run(options: argparse.Namespace) -> None:
    """Prints the link.

    Raises:
        CygnetError: The stack is not up, does not offer the release, or the repository is not reached by HTTPS.
    """
    outputs = Stack(options.stack).outputs()
    offered = [release["name"] for release in outputs["parts"]["software"]["releases"]]
    if options.release and options.release not in offered:
        raise CygnetError(
            f"stack {options.stack} offers no release '{options.release}'; choose from: {', '.join(offered)}"
        )
    if urlsplit(options.repository).scheme != "https":
        raise CygnetError(f"links bring repositories by HTTPS only, and not '{options.repository}'")
    print(link(outputs["url"], options.repository, options.open, branch=options.branch, release=options.release))


def link(service: str, repository: str, path: str = "", **choices: str | None) -> str:
    """The link, with the `choices` that were made.

    >>> link("https://swan.example", "https://git.example/course/", "a b.ipynb", release="stable", branch=None)
    'https://swan.example/hub/user-redirect/git-pull?repo=https%3A%2F%2Fgit.example%2Fcourse&urlpath=lab%2Ftree%2Fcourse%2Fa+b.ipynb&release=stable'
    """
    repository = repository.rstrip("/")
    opened = "/".join(["lab/tree", repository.rpartition("/")[2], *filter(None, [path.strip("/")])])
    query = {"repo": repository, "urlpath": opened, **{name: value for name, value in choices.items() if value}}
    return f"{service}/hub/user-redirect/git-pull?{urlencode(query)}"

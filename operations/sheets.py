"""`cygnet sheets`: a page per seat of a course, to be printed and handed out."""

import argparse
import os
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from string import Template

import segno

from components.errors import CygnetError
from operations.stack import Stack

NAME = "sheets"
HELP = "write a printable page for each seat: address, name, password, QR code"

_SEAT = "seat-"

_PAGE = Template("""\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>Seats of $url</title>
<style>
  body { font: 16pt/1.5 sans-serif; margin: 0 }
  section { break-after: page; box-sizing: border-box; height: 100vh; padding: 2cm; text-align: center }
  svg { display: block; margin: 1cm auto; width: 6cm; height: 6cm }
  dt { color: #555; font-size: 12pt }
  dd { margin: 0 0 .6cm; font: 22pt monospace; overflow-wrap: anywhere }
</style>
$sheets
</html>
""")
_SHEET = Template("""\
<section>
<h1>$name</h1>
<dl>
<dt>Address</dt><dd>$url</dd>
<dt>Name</dt><dd>$name</dd>
<dt>Password</dt><dd>$password</dd>
</dl>
$code
</section>""")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes besides the stack."""
    parser.add_argument("--to", type=Path, metavar="FILE", help="the page to write; else seats-STACK.html")


def run(options: argparse.Namespace) -> None:
    """Writes the page, which only its owner may read: it has passwords."""
    outputs = Stack(options.stack).outputs()
    seats = {name: password for name, password in outputs["accounts"].items() if name.startswith(_SEAT)}
    kind = outputs["parts"]["auth"]["kind"]
    if not seats and not outputs["accounts"]:
        raise CygnetError(f"stack {options.stack} has sign-in of kind {kind}: its passwords are not the stack's")
    if not seats:
        raise CygnetError(
            f"stack {options.stack} has no seats; give it some, `seats: 20` under cygnet:auth in its stack file, and "
            f"run `make up STACK={options.stack}`"
        )
    file = options.to or Path(f"seats-{options.stack}.html")
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as opened:
            os.fchmod(opened.fileno(), 0o600)  # it may have been there, for others to read
            opened.write(page(outputs["url"], seats))
    except OSError as error:
        raise CygnetError(f"{file} cannot be written: {error.strerror}; name another place with --to FILE") from error
    print(f"{file}: {len(seats)} pages. Print it from a browser, then remove it: it has the passwords.")


def page(url: str, seats: Mapping[str, str]) -> str:
    """The whole document, a sheet of paper for each seat.

    Args:
        url: Of the service; the QR code leads there.
        seats: Passwords by name.
    """
    code = segno.make(url, micro=False).svg_inline(scale=1, omitsize=True)
    return _PAGE.substitute(url=escape(url), sheets="\n".join(_sheets(url, seats.items(), code)))


def _sheets(url: str, seats: Iterable[tuple[str, str]], code: str) -> Iterable[str]:
    for name, password in seats:
        yield _SHEET.substitute(url=escape(url), name=escape(name), password=escape(password), code=code)

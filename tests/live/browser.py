"""A browser that trusts the stack's authority, and comes to nobody but the stack."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlparse

from playwright.sync_api import Browser, expect, sync_playwright

from tests.live.still_network import still_network

_PATIENCE_MS = 15_000  # for what a person expects at once: all machines of the stack share this computer
_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--proxy-bypass-list=<-loopback>",  # the proxy is for all, this computer's own names, too
    "--no-sandbox",  # it refuses to run as root with one
)


@contextmanager
def browser(ca_file: Path, home: Path, *urls: str, proxy: str | None = None) -> Iterator[Browser]:
    """Debian's chromium, without a window.

    Args:
        ca_file: The authorities that it trusts, as a user's browser does after importing them.
        home: An empty folder; the browser's database of authorities is made there.
        urls: Addresses of the stack; this browser comes to no other.
        proxy: Through which it goes, e.g. socks5://127.0.0.1:1080; none: one that leads to the stack alone.
    """
    program = shutil.which("chromium")
    assert program, "there is no chromium; run 'python -m engine host-packages --tests'"
    _trust(ca_file, home)
    expect.set_options(timeout=_PATIENCE_MS)
    asked = urlparse(proxy) if proxy else None
    through = (str(asked.hostname), asked.port or 0) if asked else None
    with ExitStack() as ends:
        with still_network([str(urlparse(url).hostname) for url in urls], through) as way:
            playwright = ends.enter_context(sync_playwright())
        scheme = asked.scheme if asked else "http"
        yield ends.enter_context(
            playwright.chromium.launch(
                executable_path=program,
                args=[*_FLAGS, f"--proxy-server={scheme}://{way}"],
                env={**os.environ, "HOME": str(home)},
            )
        )


def _trust(ca_file: Path, home: Path) -> None:
    """Imports authorities for servers into the database where chromium looks."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    where = ["-d", f"sql:{database}"]
    subprocess.run(["certutil", *where, "-N", "--empty-password"], check=True)
    for number, certificate in enumerate(re.findall(r"-----BEGIN.*?-----END [^\n]*\n", ca_file.read_text(), re.DOTALL)):
        named = ["-A", "-n", f"authority {number}", "-t", "C,,", "-a"]  # it takes one at a time
        subprocess.run(["certutil", *where, *named], input=certificate, text=True, check=True)

"""Wapiti, a scanner of web applications, at pages that are up: it follows their links and attacks their forms."""

import json
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http.cookiejar import Cookie, CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

MODULES = (
    "cookieflags", "crlf", "csp", "exec", "file", "http_headers", "methods", "permanentxss", "redirect", "sql",
    "xss", "xxe",
)  # fmt: skip
"""What is looked for. Left out: lists of others' files and passwords, which Wapiti would get from the network; what
takes a server of its own; "csrf", which knows tokens by their names, and not the one that JupyterHub gives them."""

NOWHERE = "http://127.0.0.1:9/"
"""Where targets of "xxe" would have to call, in place of a server of Wapiti's makers."""
_WAPITI = """\
import sys
from wapitiCore.main.wapiti import wapiti_main
if cookies := sys.stdin.read():
    sys.argv[1:1] = ["--header", f"Cookie: {cookies}"]
wapiti_main()
"""
"""What is secret is in no command line."""

CRAWL_SECONDS, MODULE_SECONDS = 20, 10
LOW = 1


@dataclass(frozen=True)
class Finding:
    """One of Wapiti's."""

    level: int
    """0: to be known; 1: low; 2: medium; 3: high; 4: critical."""
    category: str
    where: str
    what: str


@dataclass(frozen=True)
class Scanned:
    """What came of it."""

    pages: int
    """That it found, and attacked."""
    findings: Sequence[Finding]

    @property
    def above_low(self) -> list[Finding]:
        """Those that are more than low."""
        return [one for one in self.findings if one.level > LOW]


def scan(url: str, folder: Path, *, pages: Sequence[str] = (), cookies: CookieJar | None = None) -> Scanned:
    """Scans a site.

    Args:
        url: The page that is asked first; all of its host and port is in question.
        folder: Only ours.
        pages: Further paths to begin at.
        cookies: What a browser has that is signed in. They are sent all the time, so no page signs out.
    """
    report_file = folder / "report.json"
    here = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    command = [
        "/usr/bin/python3", "-c", _WAPITI, "--url", url, "--scope", "domain", "--module", ",".join(MODULES), "--format",
        "json", "--output", str(report_file), "--store-session", str(folder / "session"), "--store-config",
        str(folder / "config"), "--flush-session", "--no-bugreport", "--endpoint", NOWHERE, "--verbose", "1", "--depth",
        "3", "--max-scan-time", str(CRAWL_SECONDS), "--max-attack-time", str(MODULE_SECONDS), "--timeout", "30",
        "--scan-force", "polite", *(word for path in pages for word in ("--start", f"{here}{path}")),
    ]  # fmt: skip
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8"}
    started = time.monotonic()
    sent = _cookies(url, cookies or ())
    done = subprocess.run(command, env=environment, input=sent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(report_file.read_text())
    pages_found = re.search(r"found (\d+) URLs and forms", done.stdout)
    print(done.stdout, f"{time.monotonic() - started:.0f} s")
    found = [
        Finding(int(one["level"]), category, f"{one['method']} {one['path']} {one['parameter'] or ''}", one["info"])
        for kind in ("vulnerabilities", "anomalies")
        for category, listed in report[kind].items()
        for one in listed
    ]
    return Scanned(int(pages_found.group(1)) if pages_found else 0, found)


def _cookies(url: str, cookies: Iterable[Cookie]) -> str:
    """Those that a browser would send there: of two of one name, that of the longer path."""
    there = urlsplit(url).path
    longest = sorted((one for one in cookies if there.startswith(one.path)), key=lambda one: len(one.path))
    return "; ".join(f"{name}={value}" for name, value in {one.name: one.value for one in longest}.items())

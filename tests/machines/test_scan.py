"""The scanner of pages sees what only somebody who is signed in sees, and tells a hole from what is low."""

import html
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from tests.live.ports import HOST
from tests.live.scan import scan

pytestmark = pytest.mark.nightly  # as are those scans


class Pages(BaseHTTPRequestHandler):
    """A page with a form for whoever has the cookie; what was written into it is shown."""

    escapes = True

    def do_GET(self) -> None:
        given = parse_qs(urlsplit(self.path).query).get("name", [""])[0]
        known = "signed=in" in self.headers.get("Cookie", "")
        shown = html.escape(given) if self.escapes else given
        form = '<form action="/greet"><input name="name" value="you"><input type="submit"></form>' if known else ""
        page = f'<html><body><a href="/out">out</a>{form}<p>{shown}</p></body></html>'.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        if self.path == "/out":
            self.send_header("Set-Cookie", "signed=; Max-Age=0; Path=/")
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Tells nobody."""


@contextmanager
def site(*, escapes: bool) -> Iterator[str]:
    handler = type("Handler", (Pages,), {"escapes": escapes})
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{HOST}:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture
def cookies() -> CookieJar:
    """Of a browser that is signed in."""
    jar = requests.cookies.RequestsCookieJar()
    jar.set("signed", "in", domain=HOST, path="/")
    return jar


@pytest.mark.parametrize("escapes", [True, False])
def test_a_form_that_shows_what_one_sends_is_found(tmp_path: Path, cookies: CookieJar, *, escapes: bool) -> None:
    with site(escapes=escapes) as url:
        found = scan(url, tmp_path, cookies=cookies)
    assert found.findings, "some headers are missing, which is low"
    assert {one.category for one in found.above_low} == (set() if escapes else {"Cross Site Scripting"})


def test_a_stranger_sees_no_form(tmp_path: Path) -> None:
    with site(escapes=False) as url:
        assert scan(url, tmp_path).above_low == []

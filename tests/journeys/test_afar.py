"""From afar: the service behind an HTTPS proxy of the site, through an SSH tunnel, and through a SOCKS proxy.

Each time a person signs in, runs a cell, looks at the page of files, where sign-in comes back to, and signs out.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from components.certificates import issue_certificate, new_authority
from engine import tools
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.ports import free_ports, listens
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

LOOPBACK = "127.0.0.1"
PORTAL = "portal.localhost"  # a browser knows by itself that this is the loopback


@pytest.fixture
def visit(stack: LiveStack, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Has a person do all that one does, with a browser of their own: `visit(url, hosts, ca_file, proxy)`."""

    def do(url: str, hosts: set[str | None], ca_file: Path | None = None, proxy: str | None = None) -> None:
        with browser(ca_file or stack.ca_file, tmp_path / "browser", url, proxy=proxy) as window:
            password, pictures = stack.accounts["physicist"], request.config.option.pictures
            physicist = Person(window, url, "physicist", password, pictures=pictures)
            try:
                _spend_a_day(stack, physicist)
            finally:
                physicist.close()
                Visitor(stack, "physicist").stop()
        assert physicist.asked == hosts

    def beside(*arguments: object, **options: object) -> None:
        # There is one Playwright in a thread, and other tests have that of this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(do, *arguments, **options).result()  # type: ignore[arg-type]

    return beside


def test_behind_an_https_proxy_of_the_site(stack: LiveStack, visit: Callable[..., None], tmp_path: Path) -> None:
    port = _pair_of_ports()
    with _site_proxy(stack, port, tmp_path) as ca_file:
        visit(f"https://{PORTAL}:{port}", {PORTAL}, ca_file=ca_file)


def test_through_an_ssh_tunnel(stack: LiveStack, visit: Callable[..., None]) -> None:
    port = _pair_of_ports()
    forwards = [f"-L{LOOPBACK}:{port}:{_target(stack.url)}"]
    if files := stack.parts["files"]:
        forwards.append(f"-L{LOOPBACK}:1{port}:{_target(files['url'])}")
    with _ssh(stack, port, *forwards):
        visit(f"https://localhost:{port}", {"localhost"})


def test_through_a_socks_proxy(stack: LiveStack, visit: Callable[..., None]) -> None:
    (port,) = free_ports(1)
    with _ssh(stack, port, f"-D{LOOPBACK}:{port}"):
        visit(stack.url, {urlsplit(stack.url).hostname}, proxy=f"socks5://{LOOPBACK}:{port}")


def _spend_a_day(stack: LiveStack, physicist: Person) -> None:
    """All that a person does, at one address."""
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("Python 3")
    expect(physicist.run_cell("print(6 * 7)")).to_have_text("42")
    if stack.parts["files"]:
        # Twice: with the sign-in of the hub, and where somebody who is not signed in comes back to.
        physicist.page.goto(f"{physicist.url}/files/")
        expect(physicist.page.locator("#files")).to_be_visible()
        page = physicist.page.url
        physicist.sign_out()
        physicist.page.goto(page)
        physicist.fill_in_here()
        physicist.submit()
        physicist.page.wait_for_url(page)
        expect(physicist.page.locator("#files")).to_be_visible()
    physicist.sign_out()


@contextmanager
def _ssh(stack: LiveStack, port: int, *forwards: str) -> Iterator[None]:
    command = stack.ssh("control-plane-1", "-N", *forwards, "-o", "ExitOnForwardFailure=yes")
    with subprocess.Popen(command) as ssh:
        try:
            until(lambda: listens(port), "ssh listens", seconds=15, every=0.1)
            yield
        finally:
            ssh.terminate()


@contextmanager
def _site_proxy(stack: LiveStack, port: int, folder: Path) -> Iterator[Path]:
    """A proxy that ends TLS under a name and ports of its own; gives the authority that vouches for it."""
    authority, authority_key = new_authority("site")
    chain, key = issue_certificate([PORTAL], authority=authority, authority_key=authority_key)
    (folder / "site.crt").write_text(authority)

    def server(listened: str, url: str) -> dict[str, object]:
        forwarded = {
            "handler": "reverse_proxy",
            "upstreams": [{"dial": _target(url)}],
            # What a proxy of a site has to leave as it is.
            "headers": {"request": {"set": {"Host": ["{http.request.hostport}"]}}},
            "transport": {
                "protocol": "http",
                "tls": {
                    "ca": {"provider": "file", "pem_files": [str(stack.ca_file)]},
                    "server_name": str(urlsplit(url).hostname),
                },
            },
        }
        return {
            "listen": [f"{LOOPBACK}:{listened}"],
            "routes": [{"handle": [forwarded]}],
            "tls_connection_policies": [{}],
            "automatic_https": {"disable": True},
        }

    servers = {"service": server(str(port), stack.url)}
    if files := stack.parts["files"]:
        servers["files"] = server(f"1{port}", files["url"])
    loaded = {"certificates": {"load_pem": [{"certificate": chain, "key": key}]}}
    settings = {"admin": {"disabled": True}, "apps": {"tls": loaded, "http": {"servers": servers}}}
    (folder / "site.json").write_text(json.dumps(settings))
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    command = [tools.path("caddy"), "run", "--config", folder / "site.json"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as caddy:
        try:
            until(lambda: listens(port), "the proxy of the site listens", seconds=20, every=0.1)
            yield folder / "site.crt"
        finally:
            caddy.terminate()


def _target(url: str) -> str:
    """Host and port of an address.

    >>> _target("https://10.240.1.11")
    '10.240.1.11:443'
    """
    host = urlsplit(url).netloc
    return host if re.search(r":\d+$", host) else f"{host}:443"


def _pair_of_ports() -> int:
    """A port on which nothing listens, nor on the one with a 1 before it."""
    return next(port for port in range(8000, 10000) if not listens(port) and not listens(int(f"1{port}")))

"""From afar: the service through an SSH tunnel, through a SOCKS proxy, and behind an HTTPS proxy of the site.

Each time a person signs in, runs a cell, looks at the page of files, where sign-in comes back to, and signs out.
"""

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from components.certificates import issue_certificate, new_authority
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.ports import free_ports, listens
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until
from tests.unit import running_caddy

LOOPBACK = "127.0.0.1"


@pytest.fixture
def visit(stack: LiveStack, tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., None]:
    """Has a person do all that one does, with a browser of their own: `visit(url, hosts, proxy, ca_file)`."""

    def do(url: str, hosts: set[str | None], proxy: str | None = None, ca_file: Path = stack.ca_file) -> None:
        with browser(ca_file, tmp_path / "browser", url, proxy=proxy) as window:
            password, pictures = stack.accounts["physicist"], request.config.option.pictures
            physicist = Person(window, url, "physicist", password, pictures=pictures)
            try:
                _spend_a_day(stack, physicist)
            finally:
                physicist.close()
                Visitor(stack, "physicist").stop()
        assert physicist.asked == hosts

    def beside(*arguments: Any, **options: Any) -> None:
        # There is one Playwright in a thread, and other tests have that of this one.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(do, *arguments, **options).result()

    return beside


def test_through_an_ssh_tunnel(stack: LiveStack, visit: Callable[..., None]) -> None:
    port = _pair_of_ports()
    forwards = [f"-L{LOOPBACK}:{port}:{_target(stack.url)}"]
    if files := stack.parts["files"]:
        forwards.append(f"-L{LOOPBACK}:1{port}:{_target(files['url'])}")
    with _ssh(stack, port, *forwards):
        visit(f"https://localhost:{port}", {"localhost"})


@pytest.mark.nightly
def test_through_a_socks_proxy(stack: LiveStack, visit: Callable[..., None]) -> None:
    (port,) = free_ports(1)
    with _ssh(stack, port, f"-D{LOOPBACK}:{port}"):
        visit(stack.url, {urlsplit(stack.url).hostname}, proxy=f"socks5://{LOOPBACK}:{port}")


def test_behind_an_https_proxy_of_the_site(stack: LiveStack, visit: Callable[..., None], tmp_path: Path) -> None:
    # Its browser trusts the site's authority alone: no certificate of the stack reaches it.
    port, site = _pair_of_ports(), tmp_path / "site"
    site.mkdir()
    targets = {port: _target(stack.url)}
    if files := stack.parts["files"]:
        targets[int(f"1{port}")] = _target(files["url"])
    authority = _write_proxy(site, stack.ca_file, targets)
    with running_caddy.running(site / "Caddyfile", f"localhost:{port}"):
        visit(f"https://localhost:{port}", {"localhost"}, ca_file=authority)


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


_SITE = """\
https://localhost:{port} {{
    bind 127.0.0.1
    tls {folder}/certificate.pem {folder}/key.pem
    reverse_proxy https://{target} {{
        header_up Host {{hostport}}
        transport http {{
            tls_server_name localhost
            tls_trust_pool file {trusted}
        }}
    }}
}}
"""


def _write_proxy(folder: Path, trusted: Path, targets: Mapping[int, str]) -> Path:
    """Writes the Caddyfile of a proxy that ends TLS and asks the service by HTTPS; returns its authority's certificate.

    Args:
        folder: For them.
        trusted: The service's authority.
        targets: Of the service, "host:port", by port.
    """
    certificate, key = new_authority("the site")
    chain, private = issue_certificate(["localhost", LOOPBACK], authority=certificate, authority_key=key)
    sites = [_SITE.format(port=port, folder=folder, target=to, trusted=trusted) for port, to in targets.items()]
    written = {
        "authority.pem": certificate,
        "certificate.pem": chain,
        "key.pem": private,
        "Caddyfile": "\n".join(["{\n    admin off\n    persist_config off\n    auto_https off\n}", *sites]),
    }
    for name, text in written.items():
        (folder / name).write_text(text)
    return folder / "authority.pem"


@contextmanager
def _ssh(stack: LiveStack, port: int, *forwards: str) -> Iterator[None]:
    command = stack.ssh("control-plane-1", "-N", *forwards, "-o", "ExitOnForwardFailure=yes")
    with subprocess.Popen(command) as ssh:
        try:
            until(lambda: listens(port), "ssh listens", seconds=15, every=0.1)
            yield
        finally:
            ssh.terminate()


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

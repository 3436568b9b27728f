"""The gateway's certificates: the real Caddy with our settings, a real ACME authority, and an open websocket.

Certificates last seconds here, so that their ends come while a test looks.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import websocket
from cryptography import x509
from tornado.httpserver import HTTPServer
from tornado.web import Application
from tornado.websocket import WebSocketHandler

from components.certificates import issue_certificate, new_authority
from components.gateway_config import GatewayConfig
from tests.live.ports import HOST, free_ports
from tests.live.waiting import until
from tests.machines.acme import EAB_KEY, EAB_KEY_ID, Pebble, pebble
from tests.unit import running_caddy

NAME = "swan.example.org"
NAMES = [NAME, "10.240.3.11", "localhost", "127.0.0.1"]
SECONDS = 20  # that short certificates last


class Echo(WebSocketHandler):
    """Says what it hears."""

    def on_message(self, message: str | bytes) -> None:
        """Answers."""
        self.write_message(message)


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """Stands where the hub's proxy is: "host:port"."""
    (port,) = free_ports(1)
    loop, ready = asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        HTTPServer(Application([("/echo", Echo)])).listen(port, HOST)
        ready.set()

    def run() -> None:
        loop.run_until_complete(serve())
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    ready.wait(10)
    yield f"{HOST}:{port}"
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)


class Gateway:
    """A Caddy with our settings, in a folder of its own."""

    def __init__(self, folder: Path, echo: str, ports: Sequence[int], config: GatewayConfig) -> None:
        https, http = ports
        self.folder, self._echo, self.https = folder, echo, https
        self.address = f"{HOST}:{https}"
        self.listens = {running_caddy.HTTPS: self.address, running_caddy.HTTP: f"{HOST}:{http}"}
        self.authority = running_caddy.Authority(config, NAMES)
        self.settings = folder / "caddy.json"

    def write(self, edit: Callable[[dict[str, Any]], object] = lambda _: None) -> None:
        """Writes its settings; a Caddy that runs reads them anew."""
        running_caddy.write_settings(
            self.folder, self.authority, proxy_address=self._echo, listens=self.listens, edit=edit
        )

    @contextmanager
    def runs(self) -> Iterator[None]:
        """Until the end of the block."""
        with running_caddy.running(self.settings, self.address):
            yield

    def leaf(self, name: str, trust: str) -> x509.Certificate:
        """The certificate that somebody gets who trusts this authority alone. Raises ssl.SSLError."""
        context = ssl.create_default_context(cadata=trust)
        with (
            socket.create_connection((HOST, self.https), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname=name) as encrypted,
        ):
            return x509.load_der_x509_certificate(encrypted.getpeercert(binary_form=True) or b"")

    def eventually(self, name: str, trust: Callable[[], str]) -> x509.Certificate:
        """That, when it is there."""
        return until(
            lambda: self.leaf(name, trust()), f"a certificate for {name}\n{self.said()}", seconds=20, every=0.2,
            through=(ssl.SSLError, OSError),
        )  # fmt: skip

    def said(self) -> str:
        """The end of what Caddy wrote."""
        log = self.folder / "caddy.log"
        return log.read_text()[-3000:] if log.exists() else ""


class Line:
    """An open websocket through the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._socket = websocket.create_connection(
            f"wss://{gateway.address}/echo", sslopt={"cert_reqs": ssl.CERT_NONE}, timeout=10
        )

    def holds(self) -> bool:
        """Whether what is said comes back on the same connection."""
        said = str(time.monotonic())
        self._socket.send(said)
        return bool(self._socket.recv() == said)

    def close(self) -> None:
        """Ends it."""
        self._socket.close()


@pytest.fixture
def line() -> Iterator[Callable[[Gateway], Line]]:
    """Opens websockets that are closed with the test."""
    opened: list[Line] = []

    def make(gateway: Gateway) -> Line:
        opened.append(Line(gateway))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def looks_each_second(made: dict[str, Any]) -> None:
    """Caddy looks for ends of certificates every ten minutes, which these do not last."""
    made["apps"]["tls"]["automation"]["renew_interval"] = "1s"


def outlives(gateway: Gateway, line: Line, trust: Callable[[], str]) -> None:
    """Asserts that another certificate comes before the first one ends, and the websocket stays open."""
    first = gateway.eventually(NAME, trust)
    while (leaf := gateway.leaf(NAME, trust())).serial_number == first.serial_number:
        assert line.holds()
        assert time.time() < first.not_valid_after_utc.timestamp(), "it has ended, and there is no other"
        time.sleep(0.3)
    assert leaf.not_valid_after_utc > first.not_valid_after_utc
    while time.time() < first.not_valid_after_utc.timestamp() + 1:
        time.sleep(0.3)
    gateway.leaf(NAME, trust())
    assert line.holds()


# By ACME


@contextmanager
def by_acme(folder: Path, echo: str, *, with_accounts: bool = False, **more: Any) -> Iterator[tuple[Gateway, Pebble]]:
    """A gateway that is to ask an authority, which runs; the gateway does not yet."""
    (folder / "pebble").mkdir()
    https, http = free_ports(2)
    with pebble(
        folder / "pebble", http_port=http, https_port=https, seconds=SECONDS, with_accounts=with_accounts
    ) as authority:
        given = {"kind": "acme", "directory": authority.directory, "authority": str(authority.vouches), **more}
        gateway = Gateway(folder, echo, [https, http], GatewayConfig(hostname=NAME, certificate=given))
        (folder / "acme.crt").write_text(authority.vouches.read_text())
        gateway.write(looks_each_second)
        yield gateway, authority


def test_an_acme_authority_gives_one_and_another_before_its_end(
    tmp_path: Path, echo: str, line: Callable[[Gateway], Line]
) -> None:
    with by_acme(tmp_path, echo, email="operator@example.org") as (gateway, authority), gateway.runs():
        gateway.eventually(NAME, authority.root)
        outlives(gateway, line(gateway), authority.root)


def test_the_name_may_be_shown_at_https_alone(tmp_path: Path, echo: str) -> None:
    with by_acme(tmp_path, echo, challenge="tls-alpn-01") as (gateway, authority), gateway.runs():
        gateway.eventually(NAME, authority.root)


def test_a_start_asks_for_nothing_that_is_there(tmp_path: Path, echo: str) -> None:
    with by_acme(tmp_path, echo) as (gateway, authority):
        with gateway.runs():
            first = gateway.eventually(NAME, authority.root)
        with gateway.runs():
            assert gateway.eventually(NAME, authority.root).serial_number == first.serial_number
        assert authority.issued() == 1


def test_an_account_that_the_authority_gave_is_used(tmp_path: Path, echo: str) -> None:
    account = {"eab_key_id": EAB_KEY_ID, "eab_key": EAB_KEY}
    with by_acme(tmp_path, echo, with_accounts=True, **account) as (gateway, authority), gateway.runs():
        gateway.eventually(NAME, authority.root)


def test_without_the_authority_tunnels_and_addresses_go_on(tmp_path: Path, echo: str) -> None:
    with by_acme(tmp_path, echo) as (gateway, _):
        pass  # the authority has ended
    with gateway.runs():
        for name in ("localhost", "127.0.0.1", "10.240.3.11"):
            gateway.eventually(name, lambda: gateway.authority.certificate)
        with pytest.raises(ssl.SSLError):
            gateway.leaf(NAME, gateway.authority.certificate)


# The stack's own, and files


def test_the_stacks_own_is_renewed_by_nobody_but_caddy(
    tmp_path: Path, echo: str, line: Callable[[Gateway], Line]
) -> None:
    gateway = Gateway(tmp_path, echo, free_ports(2), GatewayConfig(hostname=NAME))

    def short(made: dict[str, Any]) -> None:
        looks_each_second(made)
        (policy,) = made["apps"]["tls"]["automation"]["policies"]
        policy["issuers"][0]["lifetime"] = f"{SECONDS}s"

    gateway.write(short)
    with gateway.runs():
        gateway.eventually(NAME, lambda: gateway.authority.certificate)
        outlives(gateway, line(gateway), lambda: gateway.authority.certificate)


def test_another_one_for_addresses_drops_nothing(tmp_path: Path, echo: str, line: Callable[[Gateway], Line]) -> None:
    gateway = Gateway(tmp_path, echo, free_ports(2), GatewayConfig())
    gateway.write()
    with gateway.runs():
        old = gateway.eventually("127.0.0.1", lambda: gateway.authority.certificate)
        open_line = line(gateway)
        assert open_line.holds()
        gateway.write()  # each time with another certificate for addresses
        until(
            lambda: gateway.leaf("127.0.0.1", gateway.authority.certificate).serial_number != old.serial_number,
            "the other certificate", seconds=20, every=0.2,
        )  # fmt: skip
        assert open_line.holds()


def test_files_are_served_and_others_take_their_place_without_dropping_anything(
    tmp_path: Path, echo: str, line: Callable[[Gateway], Line]
) -> None:
    public, public_key = new_authority("public")

    def files(name: str) -> GatewayConfig:
        chain, key = issue_certificate([name], authority=public, authority_key=public_key)
        return GatewayConfig(hostname=NAME, certificate={"kind": "files", "chain": chain, "key": key})

    gateway = Gateway(tmp_path, echo, free_ports(2), files(NAME))
    gateway.write()
    with gateway.runs():
        old = gateway.eventually(NAME, lambda: public)
        gateway.eventually("localhost", lambda: gateway.authority.certificate)
        open_line = line(gateway)
        assert open_line.holds()
        gateway.authority.config = files("*.example.org")
        gateway.write()
        until(
            lambda: gateway.leaf(NAME, public).serial_number != old.serial_number,
            "the other",
            seconds=20,
            every=0.2,
        )
        assert open_line.holds()

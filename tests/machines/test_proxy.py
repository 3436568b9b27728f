"""The hub's proxy, as its image has it, with hundreds of browsers that go away without a word."""

import asyncio
import base64
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from tornado.httpserver import HTTPServer
from tornado.web import Application, RequestHandler, url
from tornado.websocket import WebSocketHandler

from components import hub_pods
from tests.live.ports import HOST, free_ports, listens
from tests.live.waiting import until
from tests.machines import image_root

TOKEN = "of-the-proxy"  # noqa: S105 - of a proxy that only this computer reaches
AT_ONCE = 300
PING_SECONDS = 1.0  # a notebook server looks every half a minute whether the page is there


class Echo(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


class Page(RequestHandler):
    def get(self) -> None:
        self.write("there")


@contextmanager
def session() -> Iterator[int]:
    """What a session is to the proxy, and as it looks after its websockets: its port."""
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        routes = [url("/user/ada/echo", Echo), url("/user/ada/page", Page)]
        made = Application(routes, websocket_ping_interval=PING_SECONDS, websocket_ping_timeout=PING_SECONDS)
        HTTPServer(made).listen(port, HOST)

    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Proxy:
    def __init__(self, port: int, process: int) -> None:
        self.port, self._process = port, process

    def opened(self) -> int:
        """Sockets, and a few files."""
        return len(os.listdir(f"/proc/{self._process}/fd"))

    def mib(self) -> float:
        status = Path(f"/proc/{self._process}/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) / 1024

    def websocket(self) -> socket.socket:
        """One that is open."""
        opened = socket.create_connection((HOST, self.port), timeout=30)
        key = base64.b64encode(os.urandom(16)).decode()
        asked = ["GET /user/ada/echo HTTP/1.1", f"Host: {HOST}", "Upgrade: websocket", "Connection: Upgrade"]
        asked += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "", ""]
        opened.sendall("\r\n".join(asked).encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += opened.recv(1)
        assert answer.startswith(b"HTTP/1.1 101"), answer
        return opened


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("proxy")
    port, api_port, hub_port = free_ports(3)
    told = hub_pods.proxy_spec("", "")["template"]["spec"]["containers"][0]["args"]
    ours = {"--port": port, "--api-port": api_port, "--api-ip": HOST, "--default-target": f"http://{HOST}:{hub_port}"}
    arguments = [f"{name}={ours.get(name, value)}" for name, _, value in (one.partition("=") for one in told)]
    with (
        session() as behind,
        image_root.running(
            "proxy", ["configurable-http-proxy", f"--ip={HOST}", *arguments], data=folder / "data", inside="/srv",
            log=folder / "log", environment={"PATH": "/usr/local/bin:/usr/bin:/bin", "CONFIGPROXY_AUTH_TOKEN": TOKEN},
        ) as process,
    ):  # fmt: skip
        until(lambda: listens(port) and listens(api_port), "the proxy listens", seconds=60, every=0.1)
        requests.post(
            f"http://{HOST}:{api_port}/api/routes/user/ada",
            json={"target": f"http://{HOST}:{behind}"},
            headers={"Authorization": f"token {TOKEN}"},
            timeout=10,
        ).raise_for_status()
        (inside,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Proxy(port, int(inside))


def end(opened: socket.socket) -> None:
    """The other side is told: the connection is over."""
    opened.close()


def reset(opened: socket.socket) -> None:
    """The other side is told that there is no connection any more, as by a computer that started anew."""
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    opened.close()


def fall_silent(_opened: socket.socket) -> None:
    """Nobody reads any more, and nobody answers, as of a page that the browser put to sleep."""


@pytest.mark.parametrize(("leave", "rounds"), [(end, 3), (reset, 3), (fall_silent, 1)])
def test_abandoned_websockets_come_back_and_disturb_nobody(
    proxy: Proxy, leave: Callable[[socket.socket], None], rounds: int
) -> None:
    at_rest, memory = proxy.opened(), []
    for _ in range(rounds):
        many = [proxy.websocket() for _ in range(AT_ONCE)]
        assert proxy.opened() >= 2 * AT_ONCE
        for one in many:
            leave(one)
        assert requests.get(f"http://{HOST}:{proxy.port}/user/ada/page", timeout=30).text == "there"
        until(lambda: proxy.opened() < at_rest + 20, "the sockets are gone", seconds=60)
        memory.append(proxy.mib())
        for one in many:
            one.close()
    assert memory[-1] - memory[0] < 40, memory

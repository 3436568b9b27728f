"""A proxy in front of the cloud's services that answers as a busy or broken cloud does: late, with 429 or with 503.

Clients are led through it by their `auth_url` alone: in what Keystone says of the services' addresses, and in all other
answers, the proxy writes its own.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from time import sleep
from typing import Any, Final

import yaml

from tests.testcloud import names

_SERVICES: Final = ("keystone", "placement", "glance", "neutron", "nova", "cinder")
_HOP: Final = ("connection", "content-length", "date", "server", "transfer-encoding")
_SECONDS: Final = 300.0


@dataclass
class Faults:
    """What happens to requests, and what happened."""

    share: float = 0.0
    """How many of them fail, of one."""
    statuses: tuple[int, ...] = (503,)
    delay_seconds: float = 0.0
    """Before each."""
    afterwards: bool = False
    """Whether what fails was done all the same, and only its answer is lost."""
    applies: Callable[[str, str], bool] = lambda _method, _path: True
    """To which requests, by method and path."""
    failed: list[str] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self._random, self._lock = random.Random(1), Lock()  # noqa: S311 - the same faults in each run

    def status(self, method: str, path: str) -> int | None:
        """With what a request fails; None: it does not."""
        with self._lock:
            self.requests += 1
            if not self.applies(method, path) or self._random.random() >= self.share:
                return None
            self.failed.append(f"{method} {path}")
            return self._random.choice(self.statuses)


@contextmanager
def proxy(faults: Faults, clouds: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Runs the proxy; gives the clouds, which are as clouds.yaml has them, so that they lead through it."""
    servers = {service: _Server((names.LOOPBACK, 0), _Handler) for service in _SERVICES}
    addresses = {
        f"{names.LOOPBACK}:{names.PORTS[service]}".encode(): f"{names.LOOPBACK}:{server.server_port}".encode()
        for service, server in servers.items()
    }
    for service, server in servers.items():
        server.daemon_threads = True
        server.faults, server.addresses, server.upstream = faults, addresses, names.PORTS[service]
        Thread(target=server.serve_forever, daemon=True).start()
    try:
        written = yaml.safe_dump(clouds).encode()
        for real, ours in addresses.items():
            written = written.replace(real, ours)
        yield yaml.safe_load(written)
    finally:
        for server in servers.values():
            server.shutdown()
            server.server_close()


class _Server(ThreadingHTTPServer):
    faults: Faults
    addresses: dict[bytes, bytes]
    upstream: int


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        faults = self.server.faults
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        sleep(faults.delay_seconds)
        status = faults.status(self.command, self.path)
        if status is None or faults.afterwards:
            answer = self._ask(body)
        if status is not None:
            answer = status, {"Content-Type": "application/json", "Retry-After": "1"}, b'{"error": "made by a test"}'
        self._answer(*answer)

    def _ask(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection(names.LOOPBACK, self.server.upstream, timeout=_SECONDS)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection")}
        connection.request(self.command, self.path, body, headers)
        response = connection.getresponse()
        given = {name: value for name, value in response.getheaders() if name.lower() not in _HOP}
        answer = response.status, {name: self._ours(value.encode()).decode() for name, value in given.items()}
        content = self._ours(response.read())
        connection.close()
        return *answer, content

    def _ours(self, content: bytes) -> bytes:
        for real, ours in self.server.addresses.items():
            content = content.replace(real, ours)
        return content

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _handle  # noqa: N815 - http.server's

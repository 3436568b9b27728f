"""A network for a browser alone, in which nothing comes or goes.

A browser gives up what it is loading whenever an interface of its computer changes, and those of machines do all the
time. So it starts in a network namespace of its own. All that it asks for goes through a proxy, which listens in there
and connects from out here.
"""

import ctypes
import os
import select
import subprocess
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from socket import create_connection, socket
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer

_LINKS = (
    "link set lo up",
    # Without an interface and an address the browser would tell its pages that it is offline.
    "link add eth0 type veth peer name eth1",
    # By itself the kernel would give them IPv6 addresses a second or two later, and so change the network once more.
    "link set eth0 addrgenmode none",
    "link set eth1 addrgenmode none",
    "link set eth1 up",
    "link set eth0 up",
    "address add 192.0.2.1/24 dev eth0",
)
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def still_network(known: Collection[str], through: tuple[str, int] | None = None) -> Iterator[str]:
    """While it is open, what this thread starts is in that network, and stays there; gives the proxy's address.

    The proxy leads out from its end on, until this process ends.

    Args:
        known: The hosts to which the proxy leads; every other one it refuses.
        through: Host and port of a proxy out here that is to be used instead, whatever it speaks.

    Raises:
        OSError: This process may not make networks: it is not root's.
    """
    with open("/proc/thread-self/ns/net") as usual:
        _must(_LIBC.unshare(_CLONE_NEWNET))
        try:
            for command in _LINKS:
                subprocess.run(["ip", *command.split()], check=True)
            proxy = _Proxy(("127.0.0.1", 0), _Relay if through else _Tunnel)
            proxy.known, proxy.through = known, through
            yield "{}:{}".format(*proxy.server_address)
        finally:
            _must(_LIBC.setns(usual.fileno(), _CLONE_NEWNET))
    # A thread is where the one was that started it.
    threading.Thread(target=proxy.serve_forever, daemon=True).start()


class _Proxy(ThreadingTCPServer):
    known: Collection[str]
    through: tuple[str, int] | None
    daemon_threads = True


class _Tunnel(StreamRequestHandler):
    """One connection of the browser, to the host that it names first."""

    server: _Proxy

    def handle(self) -> None:
        method, target, _ = self.rfile.readline().decode().split()
        while self.rfile.readline().strip():
            pass  # headers
        host, _, port = target.rpartition(":")
        if method != "CONNECT" or host not in self.server.known:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
            return
        place = "localhost" if host.endswith(".localhost") else host  # which browsers know by themselves (RFC 6761)
        with suppress(OSError), create_connection((place, int(port))) as there:  # its end is told by closing this one
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            _join(self.connection, there)


class _Relay(BaseRequestHandler):
    """One connection of the browser, to the proxy that is to be used."""

    server: _Proxy

    def handle(self) -> None:
        assert self.server.through
        with suppress(OSError), create_connection(self.server.through) as there:
            _join(self.request, there)


def _join(one: socket, two: socket) -> None:
    """Hands on what either says, until one of them ends."""
    other = {one: two, two: one}
    while True:
        for said in select.select(other, [], [])[0]:
            if not (data := said.recv(65536)):
                return
            other[said].sendall(data)


def _must(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

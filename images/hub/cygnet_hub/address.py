"""From where somebody asks, whatever stands between."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any, Self

from tornado.httputil import HTTPServerRequest

Network = IPv4Network | IPv6Network

FRESH_SECONDS, AGAIN_SECONDS = 60, 1
"""After so long the proxy's address is looked up again; where somebody else asks, a proxy that is new perhaps."""
_LOG = logging.getLogger(__name__)


def looked_up(host: str) -> frozenset[str]:
    """All addresses of a host. Raises OSError when its name leads nowhere."""
    return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None))


class Proxies:
    """What stands between browsers and the hub: proxies of the site, the gateway, and the proxy that knows sessions.

    Sessions come to the hub past all of them, and can write any X-Forwarded-For: the hub believes its own proxy alone,
    and knows that by its address. What the gateway did not see itself has been taken out of the header there.
    """

    def __init__(
        self, host: str, of_the_site: Sequence[Network], look_up: Callable[[str], frozenset[str]] = looked_up
    ) -> None:
        """Knows nobody yet.

        Args:
            host: Name or address of the proxy that knows sessions; a name leads to the pod itself, not to a service.
            of_the_site: Networks of those before the gateway, whose word the gateway takes.
            look_up: Finds the addresses of a host.
        """
        self._host, self._of_the_site, self._look_up = host, of_the_site, look_up
        self._known: frozenset[str] = frozenset()
        self._looked_at = -float("inf")
        self._background = ThreadPoolExecutor(1, thread_name_prefix="proxies")

    def __deepcopy__(self, _: Any) -> Self:
        """What traitlets makes of a setting; it holds a thread."""
        return self

    def client_address(self, request: HTTPServerRequest) -> str:
        """The address of whoever sent a request; that of a session, where it asks by itself."""
        peer = _plain(request.connection.context.address[0])  # type: ignore[union-attr]  # it is served: it has one
        if not self._is_ours(peer):
            return peer
        return before_gateway(request.headers.get_list("X-Forwarded-For"), self._of_the_site) or peer

    def _is_ours(self, peer: str) -> bool:
        now, before = time.monotonic(), self._looked_at
        if now - before > (FRESH_SECONDS if peer in self._known else AGAIN_SECONDS):
            self._looked_at = now
            looking = self._background.submit(self._look)
            # Waited for at first only: where names are not answered, the hub must not hang. Who asks first after the
            # proxy was started anew is noted with its address.
            if before == -float("inf"):
                looking.result()
        return peer in self._known

    def _look(self) -> None:
        try:
            self._known = frozenset(map(_plain, self._look_up(self._host)))
        except OSError as error:
            _LOG.warning("the proxy %s is not found: %s; where users ask from is not known", self._host, error)


def before_gateway(forwarded: Iterable[str], of_the_site: Sequence[Network]) -> str:
    """The address of whoever came to the gateway by way of the site's proxies; empty: nobody wrote it.

    The last hop is the gateway's own address, which the proxy wrote.

    >>> from ipaddress import ip_network
    >>> before_gateway(["192.0.2.7, 198.51.100.3, 10.244.0.3"], [ip_network("198.51.100.0/24")])
    '192.0.2.7'
    """
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    address = ""
    for hop in reversed(hops[:-1]):
        try:
            address = _plain(hop)
        except ValueError:  # no proxy wrote it
            break
        if not any(ip_address(address) in network for network in of_the_site):
            break
    return address


def _plain(address: str) -> str:
    """As one writes it, and an IPv4 address as one."""
    read = ip_address(address)
    return str(getattr(read, "ipv4_mapped", None) or read)

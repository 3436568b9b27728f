"""From where somebody asks, whatever stands between."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from tornado.httputil import HTTPServerRequest

Network = IPv4Network | IPv6Network


def address_of(request: HTTPServerRequest, trusted: Sequence[Network]) -> str:
    """The address of whoever sent a request; `trusted` are the networks of our own proxies."""
    peer = request.connection.context.address[0]  # type: ignore[union-attr]
    return client_address(peer, request.headers.get_list("X-Forwarded-For"), trusted)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of whoever asked: the last one that not one of our own proxies added.

    A client can write any X-Forwarded-For; what our proxies append to it, it cannot.

    >>> from ipaddress import ip_network
    >>> client_address("10.244.1.5", ["6.6.6.6, 192.0.2.7, 10.244.0.3"], [ip_network("10.244.0.0/16")])
    '192.0.2.7'
    """
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    for hop in [peer, *reversed(hops)]:
        try:
            address = ip_address(hop)
        except ValueError:  # not written by a proxy of ours
            break
        peer = str(getattr(address, "ipv4_mapped", None) or address)
        if not any(ip_address(peer) in network for network in trusted):
            break
    return peer

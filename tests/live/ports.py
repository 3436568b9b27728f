"""Ports of this computer's loopback."""

import socket
from contextlib import ExitStack

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens."""
    with ExitStack() as probes:
        made = [probes.enter_context(socket.socket()) for _ in range(count)]
        for probe in made:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in made]


def listens(port: int, host: str = HOST) -> bool:
    """Whether something accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0

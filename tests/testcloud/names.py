"""Where the test cloud is and what its things are called on this host.

There is one at a time. All that it makes is below one folder, or has the one word in its name: that is how what a
killed run left is found. The services import this module too, so it needs nothing but Python.
"""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]

WORD: Final = "testcloud"
"""The first part of each name: of namespaces, links and control groups."""

STATE: Final = Path("/var/lib") / WORD
"""All data of the running cloud; removed with it."""

RUN: Final = STATE / "run"
LOGS: Final = STATE / "log"
SETTINGS: Final = STATE / "etc"
DATA: Final = STATE / "data"
"""What was prepared, and is kept as a snapshot: databases, keys, images, and the password of all accounts."""
PLUGINS: Final = STATE / "plugins"
"""On the services' path: what says to Neutron where our mechanism driver is."""
SERVERS: Final = STATE / "servers"
VOLUMES: Final = STATE / "volumes"
SHARED: Final = STATE / "shared"
"""A folder for each project, which all its servers have at `SHARED_INSIDE`: a site's shared file system."""
SHARED_INSIDE: Final = "/srv/shared"
PASSWORD: Final = DATA / "password"
CLOUDS: Final = STATE / "clouds.yaml"

LOOPBACK: Final = "127.0.0.1"
PORTS: Final = {
    "mariadb": 23306,
    "keystone": 25000,
    "placement": 28778,
    "glance": 29292,
    "neutron": 29696,
    "nova": 28774,
    "cinder": 28776,
}
FABRIC_PORT: Final = 29697
"""UDP: where Neutron tells that something has changed."""

REGION: Final = "RegionOne"
KEYSTONE: Final = f"http://{LOOPBACK}:{PORTS['keystone']}/v3"

ADDRESSES: Final = IPv4Network("10.241.0.0/16")
"""All addresses of the cloud that this host reaches. Local stacks are in 10.240.0.0/16."""

FLAT_NETWORKS: Final = {"ext": IPv4Network("10.241.0.0/24"), "prov": IPv4Network("10.241.8.0/22")}
"""The networks with a cable to this host, by Neutron's physical network: floating IPs, and servers directly."""

FABRIC: Final = WORD
"""The network namespace in which Neutron's networks are."""


def uplink(physical_network: str) -> str:
    """This host's interface at a flat network.

    >>> uplink("ext")
    'testcloud-ext'
    """
    return f"{WORD}-{physical_network}"


def gateway(network: IPv4Network) -> IPv4Address:
    """This host's address in a flat network.

    >>> gateway(IPv4Network("10.241.0.0/24"))
    IPv4Address('10.241.0.1')
    """
    return network[1]


def router(uuid: str) -> str:
    """The network namespace of a router."""
    return f"{WORD}-router-{uuid[:13]}"


def server(uuid: str) -> str:
    """The network namespace of a server, and its control groups."""
    return f"{WORD}-server-{uuid[:13]}"


def bridge(network_uuid: str) -> str:
    """The bridge that is a network, inside the fabric."""
    return f"brq{network_uuid[:11]}"


def tap(port_uuid: str) -> str:
    """A port's end of its cable, inside the fabric."""
    return f"tap{port_uuid[:11]}"

"""What the things of local machines are called on the host, and whose they are when only a name is left.

The kernel forgets nothing that is not removed: links, namespaces and cgroups outlive the process that made them.
So each carries its stack and machine in its name (or, where fifteen characters are too few, a number and an alias),
and can be found and removed even when every record is lost.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final, Self

from components.errors import CygnetError

STATE: Final = Path("/var/lib/cygnet")
"""All data of local machines: one folder per stack."""

ADDRESSES: Final = IPv4Network("10.240.0.0/16")
"""Each stack on this host takes one /24 of it; the third byte is the stack's number."""

NUMBERS: Final = range(1, 255)

VIRTUAL_OCTET: Final = 10
"""The last byte of the address that the control planes of a stack share."""

FIRST_OCTET: Final = {"control_plane": 11, "worker": 21}
"""Where the addresses of a group's machines begin. The groups are Ansible's, hence the underscore."""

_STACK = r"[a-z0-9](?:[a-z0-9-]{0,37}[a-z0-9])?"
_MACHINE = r"(?P<group>control-plane|worker)-(?P<index>[1-9]\d{0,2})"
_LABEL = re.compile(rf"cygnet-(?P<stack>{_STACK})-(?P<machine>{_MACHINE})")
_LINK = re.compile(r"cygnet(?P<number>\d{1,3})")


def machine_name(group: str, index: int) -> str:
    """The name of the `index`-th machine of a group, from 1.

    >>> machine_name("control_plane", 1)
    'control-plane-1'
    """
    return f"{group.replace('_', '-')}-{index}"


def octet(machine: str) -> int:
    """The last byte of a machine's address.

    >>> octet("control-plane-1"), octet("worker-2")
    (11, 22)

    Raises:
        ValueError: The name is not one of ours, or there are more machines than addresses.
    """
    found = re.fullmatch(_MACHINE, machine)
    if not found:
        raise ValueError(f"{machine!r} is not a machine name such as worker-1")
    last = FIRST_OCTET[found["group"].replace("-", "_")] + int(found["index"]) - 1
    if last > 254:
        raise ValueError(f"{machine}: a local stack has no more than 254 addresses")
    return last


@dataclass(frozen=True)
class Label:
    """Stack and machine, as one text: the name of the machine's network namespace and cgroups.

    >>> str(Label("test-ab12", "worker-1"))
    'cygnet-test-ab12-worker-1'
    """

    stack: str
    machine: str

    def __str__(self) -> str:
        return f"cygnet-{self.stack}-{self.machine}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The label that a name stands for, or None. Never ambiguous, because a machine's name ends in its group.

        >>> Label.parse("cygnet-test-ab12-control-plane-1")
        Label(stack='test-ab12', machine='control-plane-1')
        """
        found = _LABEL.fullmatch(text)
        return cls(found["stack"], found["machine"]) if found else None


def check_stack(stack: str) -> str:
    """Returns the stack's name if it can be used in all those names.

    Raises:
        CygnetError: It cannot.
    """
    if re.fullmatch(_STACK, stack):
        return stack
    raise CygnetError(
        f"stack {stack!r}: local machines are named after their stack, so its name must be lowercase letters, digits "
        "and hyphens, at most 39 of them. Rename it: pulumi stack rename NAME"
    )


def stack_folder(stack: str) -> Path:
    """All data of a stack."""
    return STATE / stack


def machine_folder(stack: str, machine: str) -> Path:
    """All data of a machine."""
    return STATE / stack / "machines" / machine


def subnet(number: int) -> IPv4Network:
    """The stack's network.

    >>> subnet(3)
    IPv4Network('10.240.3.0/24')
    """
    return IPv4Network((int(ADDRESSES.network_address) + (number << 8), 24))


def host_address(number: int) -> IPv4Address:
    """The host's own address in a stack's network."""
    return subnet(number)[1]


def virtual_address(subnet: IPv4Network) -> IPv4Address:
    """The address that the control planes of a stack share.

    >>> virtual_address(subnet(3))
    IPv4Address('10.240.3.10')
    """
    return subnet[VIRTUAL_OCTET]


def link(number: int) -> str:
    """The host's interface in a stack's network; the namespace at its other end has the same name."""
    return f"cygnet{number}"


def number_of_link(name: str) -> int | None:
    """The stack number in the name of one of our interfaces, or None.

    >>> number_of_link("cygnet3"), number_of_link("eth0")
    (3, None)
    """
    found = _LINK.fullmatch(name)
    return int(found["number"]) if found else None


def number_of_subnet(destination: str) -> int | None:
    """The stack number that a route's destination stands for, or None.

    >>> number_of_subnet("10.240.3.0/24"), number_of_subnet("default")
    (3, None)
    """
    try:
        network = IPv4Network(destination)
    except ValueError:
        return None
    inside = network.prefixlen == 24 and network.subnet_of(ADDRESSES)
    return network.network_address.packed[2] if inside else None

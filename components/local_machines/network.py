"""The networks of local machines: one for each stack, with a /24 that nothing else on this host uses.

Machines of a stack reach each other and the host, and nothing else: no packet for or from them leaves the host. So
what is tried on them is what a site without internet would see, whatever the host's own firewall and routes are.
"""

import contextlib
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.local_machines import host, links, names, records
from components.local_machines.host import HostError, ip, run
from components.sources import files


class Network(BaseModel):
    """A stack's network; also the record of it on disk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stack: str
    number: int

    @property
    def subnet(self) -> IPv4Network:
        """All its addresses."""
        return names.subnet(self.number)

    @property
    def host_address(self) -> IPv4Address:
        """The host's own address in it."""
        return names.host_address(self.number)

    def address(self, machine: str) -> IPv4Address:
        """The address of a machine in it."""
        return self.subnet[names.octet(machine)]


def lock_file() -> Path:
    """The lock of all that stacks share on this host: numbers and kernel settings."""
    return names.STATE / ".lock"


def recorded() -> list[Network]:
    """The networks that this host has records of."""
    return [Network.model_validate_json(file.read_text()) for file in sorted(names.STATE.glob("*/network.json"))]


def find(stack: str) -> Network | None:
    """A stack's network by its record, or None."""
    return next((network for network in recorded() if network.stack == stack), None)


def ensure_network(stack: str, wanted: int | None = None) -> Network:
    """A stack's network, made or completed: its record, number and links. Changes nothing when all is there.

    Args:
        stack: The stack's name.
        wanted: The number it had before, if its record was lost; taken again when it is still free.

    Raises:
        CygnetError: The name cannot be used, no number is free, or the kernel refuses.
    """
    names.check_stack(stack)
    with files.locked(lock_file()):
        network = find(stack)
        if network is None:
            network = Network(stack=stack, number=_number_of_link(stack) or _free_number(wanted))
            folder = names.stack_folder(stack)
            folder.mkdir(parents=True, exist_ok=True)
            files.write(folder / "network.json", network.model_dump_json())
        host.remember_and_raise()
        links.connect_host(network.number, stack)
    return network


def remove_network(stack: str) -> bool:
    """Removes a stack's network and its data, and with the last one the kernel's settings; False if it has machines.

    Raises:
        HostError: The kernel refuses.
    """
    with files.locked(lock_file()):
        if records.machines(stack):
            return False
        network = find(stack)
        for number in (network.number if network else None, _number_of_link(stack)):
            if number is not None:
                links.remove(number)
        last = all(other.stack == stack for other in recorded())
        if last:
            host.restore()
            links.leave_namespaces()
        # Last: a removal that is killed before can be found, and begun again.
        folder = names.stack_folder(stack)
        if folder.exists():
            run("rm", "-rf", "--one-file-system", str(folder))
        if last:
            leave()
    return True


def leave() -> None:
    """Removes the lock, which the caller holds, and the folder of all stacks, after the last of them."""
    lock_file().unlink()
    with contextlib.suppress(OSError):  # something else lies there
        names.STATE.rmdir()


def taken_numbers(addresses: Iterable[Mapping[str, Any]], routes: Iterable[Mapping[str, Any]]) -> set[int]:
    """The numbers that the host's interfaces or routes use, whoever they belong to.

    A route that is wider than all our addresses (the default one, a company's 10.0.0.0/8) uses none of them.

    >>> sorted(taken_numbers([], [{"dst": "default"}, {"dst": "10.240.4.0/23"}, {"dst": "10.240.9.7"}]))
    [4, 5, 9]
    """
    used = [IPv4Network((address["local"], 32)) for link in addresses for address in link.get("addr_info", [])
            if address["family"] == "inet"]  # fmt: skip
    for route in routes:
        with contextlib.suppress(ValueError):  # "default", IPv6
            network = IPv4Network(route["dst"])
            if network.prefixlen >= names.ADDRESSES.prefixlen:
                used.append(network)
    return {number for number in names.NUMBERS if any(names.subnet(number).overlaps(network) for network in used)}


def _free_number(wanted: int | None) -> int:
    taken = {network.number for network in recorded()} | taken_numbers(
        ip("address"), ip("route", "show", "table", "all")
    )
    candidates = [*([wanted] if wanted else []), *names.NUMBERS]
    free: int | None = next((number for number in candidates if number not in taken), None)
    if free is None:
        raise HostError(
            f"no /24 of {names.ADDRESSES} is free on this host; `ip route` shows who uses them, and "
            "`cygnet clean` removes what earlier stacks left"
        )
    return free


def _number_of_link(stack: str) -> int | None:
    """The number of a stack whose record is lost, by the alias of its interface; None when that is gone, too."""
    return next((names.number_of_link(link) for link, owner in links.stacks().items() if owner == stack), None)

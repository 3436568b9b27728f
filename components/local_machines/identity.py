"""The files that make a machine this one and no other: its names, its keys, its operator's key."""

import hashlib
from collections.abc import Mapping
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from components.local_machines.records import MachineRecord, MachineSpec
from components.sources import files

Contents = Mapping[str, tuple[str, int]]
"""Content and mode of files, by path."""

_HOST_KEY: Final = "etc/ssh/ssh_host_ed25519_key.pub"
_OPERATOR: Final = "root/.ssh/authorized_keys"
"""Written once; whoever is let in later is the matter of the role `machines`, which needs no new start."""


def identity(spec: MachineSpec, instance: str, address: IPv4Address, host: IPv4Address) -> Contents:
    """Content and mode of each file, by path.

    Args:
        spec: The machine.
        instance: Its machine-id.
        address: Its address.
        host: The host's address in its network.
    """
    return {
        "etc/hostname": (f"{spec.name}\n", 0o644),
        "etc/hosts": (f"127.0.0.1 localhost\n::1 localhost\n{address} {spec.name}\n", 0o644),
        # Nobody answers there, on purpose: nothing is looked up outside. CoreDNS' forward plugin wants one such line.
        # Nothing answers there: what asks all the same should not wait for 20 s.
        "etc/resolv.conf": (f"nameserver {host}\noptions timeout:1 attempts:1\n", 0o644),
        "etc/machine-id": (f"{instance}\n", 0o444),
        "etc/ssh/ssh_host_ed25519_key": (spec.host_private_key, 0o600),
        _HOST_KEY: (f"{spec.host_key}\n", 0o644),
        _OPERATOR: (f"{spec.authorized_key}\n", 0o600),
    }


def digests(contents: Contents) -> dict[str, str]:
    """The digest of each file, by path; what a record keeps of them."""
    return {path: _digest(content) for path, (content, _mode) in contents.items()}


def due(contents: Contents, written: Mapping[str, str]) -> Contents:
    """Those files whose content is another than the last time; the others stay as roles changed them."""
    known = digests(contents)
    return {
        path: content
        for path, content in contents.items()
        if written.get(path) != known[path] and not (path == _OPERATOR and path in written)
    }


def write(contents: Contents, upper: Path, base: Path) -> None:
    """Writes files.

    Args:
        contents: As `due` gives them.
        upper: The machine's upper layer; the machine must be off.
        base: The root of the base below.
    """
    for path, content in contents.items():
        _make_parents(upper, path, base)
        files.write(upper / path, *content)


def may_be(record: MachineRecord, spec: MachineSpec) -> bool:
    """Whether a machine on disk can be the one that `spec` means: it has its host key, or none yet."""
    return record.written.get(_HOST_KEY) in (None, _digest(f"{spec.host_key}\n"))


def _make_parents(upper: Path, path: str, base: Path) -> None:
    """Makes the folders of a path, with the modes they have in the base; others are for root alone."""
    for parent in reversed(Path(path).parents[:-1]):
        folder = upper / parent
        if not folder.exists():
            folder.mkdir()
            below = base / parent
            folder.chmod(below.stat().st_mode & 0o7777 if below.exists() else 0o700)


def _digest(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()

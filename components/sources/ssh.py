"""SSH to machines: whom to believe, and through which host the way leads."""

import re
import select
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from components.sources import files

PORT: Final = 22
_CONNECT_SECONDS: Final = 5


def access(folder: Path, hosts: Iterable[Mapping[str, Any]], *keys: Path) -> Path:
    """Writes what SSH needs to reach hosts, and returns its configuration: `ssh -F FILE USER@ADDRESS`.

    Args:
        folder: Only ours, and kept as long as the configuration is used.
        hosts: As machines give them.
        keys: Files of private keys, one of which opens each of them; none: the operator's SSH agent has it.
    """
    hosts = list(hosts)
    files.write(folder / "known_hosts", known_hosts(hosts))
    configuration = folder / "ssh.conf"
    files.write(configuration, config(hosts, folder / "known_hosts", *keys))
    return configuration


def keys(text: str) -> list[str]:
    """The private keys in a text that has some after each other: OpenSSH reads but the first of a file."""
    return re.findall(r"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", text, re.DOTALL)


def known_hosts(hosts: Iterable[Mapping[str, Any]]) -> str:
    """OpenSSH's known_hosts file, so that no machine is trusted on first sight."""
    listed = list(hosts)
    ways = [host["via"] for host in listed if host.get("via")]
    lines = []
    for host in [*listed, *ways]:
        if host.get("host_key"):
            port = int(host["port"])
            address = host["address"] if port == PORT else f"[{host['address']}]:{port}"
            lines.append(f"{address} {host['host_key']}\n")
    return "".join(dict.fromkeys(lines))


def config(hosts: Iterable[Mapping[str, Any]], known: Path, *keys: Path) -> str:
    r"""OpenSSH's configuration. What it does not say is as the operator's own says.

    >>> way = {"address": "203.0.113.5", "user": "debian", "port": 22.0}
    >>> print(config([{"address": "10.0.0.4", "via": way}], Path("/run/known"), Path("/run/key")))
    Host 10.0.0.4
      ProxyJump debian@203.0.113.5:22
    Host *
      UserKnownHostsFile /run/known
      StrictHostKeyChecking yes
      BatchMode yes
      IdentityFile /run/key
      IdentitiesOnly yes
    Include ~/.ssh/config /etc/ssh/ssh_config
    <BLANKLINE>
    """
    lines = []
    for host in hosts:
        if way := host.get("via"):
            lines += [f"Host {host['address']}", f"  ProxyJump {way['user']}@{way['address']}:{int(way['port'])}"]
    lines += ["Host *", f"  UserKnownHostsFile {known}", "  StrictHostKeyChecking yes", "  BatchMode yes"]
    if keys:
        lines += [*(f"  IdentityFile {key}" for key in keys), "  IdentitiesOnly yes"]
    return "\n".join([*lines, "Include ~/.ssh/config /etc/ssh/ssh_config", ""])


def answers_through(configuration: Path, way: Mapping[str, Any], address: str) -> bool:
    """Whether an SSH server answers at an address that only another host reaches.

    Args:
        configuration: What `access` gave.
        way: That other host.
        address: Seen from there.
    """
    command = ["ssh", "-F", str(configuration), "-p", str(int(way["port"])), "-o", f"ConnectTimeout={_CONNECT_SECONDS}",
               "-W", f"{address}:{PORT}", f"{way['user']}@{way['address']}"]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as connection:
        if connection.stdout is None:
            raise AssertionError("it was asked for")
        # It says its version at once, or is something else that may never say anything.
        ready, _, _ = select.select([connection.stdout], [], [], 3 * _CONNECT_SECONDS)
        said = connection.stdout.read(4) if ready else b""
        connection.kill()
    return said == b"SSH-"

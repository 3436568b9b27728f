"""The real Caddy on this computer, with the gateway's settings; only files and ports are elsewhere."""

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.certificates import issue_certificate, new_authority, new_issuer
from components.gateway_certificate import AUTHORITY_FILE, ISSUER_FILE, ISSUER_KEY_FILE, STATE, addresses, own_hosts
from components.gateway_config import GatewayConfig, Site
from components.gateway_pods import caddy_config
from engine import tools
from tests.live.waiting import until

HTTPS, HTTP, FIRST_SITE = 8443, 8080, 8444
"""What it listens on in its pod."""

_INSIDE = "/etc/caddy"


class Authority:
    """The stack's authority, with what the gateway has of it."""

    def __init__(self, config: GatewayConfig, names: Sequence[str]) -> None:
        """
        Args:
            config: Of the gateway.
            names: Its host names and addresses.
        """
        self.config, self.names = config, names
        self.certificate, self._key = new_authority("test")
        self.hosts = own_hosts(config.certificate, names, config.hostname)
        self.issuer, self.issuer_key = new_issuer(self.hosts, authority=self.certificate, authority_key=self._key)

    def for_addresses(self) -> dict[str, str]:
        """A new certificate for the addresses, as the stack makes it."""
        chain, key = issue_certificate(addresses(self.names), authority=self.certificate, authority_key=self._key)
        return {"certificate": chain, "key": key}


def write_settings(
    folder: Path,
    authority: Authority,
    *,
    proxy_address: str,
    listens: Mapping[int, str],
    sites: Sequence[Site] = (),
    routes: Sequence[Mapping[str, Any]] = (),
    edit: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Path:
    """Writes what is in the gateway's Secret; returns the file of settings.

    Args:
        folder: For them.
        authority: Of the stack.
        proxy_address: Where requests go, "host:port".
        listens: What it listens on in place of a port of its pod, "host:port".
        sites: What has a port of its own.
        routes: What signs people in at the service's own address.
        edit: Changes the settings, for times that a test cannot wait for.
    """
    made = caddy_config(
        authority.config,
        names=authority.names,
        hosts=authority.hosts,
        proxy_address=proxy_address,
        for_addresses=authority.for_addresses(),
        sites=sites,
        routes=routes,
    )
    edit(made)
    text = json.dumps(made).replace(f'"{_INSIDE}/', f'"{folder}/')
    text = text.replace(f'"root": "{STATE}"', f'"root": "{folder}/state"')
    for port, address in listens.items():
        text = text.replace(f'":{port}"', f'"{address}"')
        text = re.sub(rf'"alternate_port": {port}\b', f'"alternate_port": {address.rpartition(":")[2]}', text)
    files = {
        AUTHORITY_FILE: authority.certificate,
        ISSUER_FILE: authority.issuer,
        ISSUER_KEY_FILE: authority.issuer_key,
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    settings = folder / "caddy.json"
    # In one step, as Kubernetes does it: Caddy looks each second.
    (folder / "new").write_text(text)
    (folder / "new").rename(settings)
    return settings


@contextmanager
def running(settings: Path, https: str) -> Iterator[None]:
    """Caddy runs, and watches its settings as in its pod.

    Args:
        settings: The file; what Caddy keeps is in a folder beside it, and what it says in caddy.log.
        https: Where it listens, "host:port".
    """
    folder, binary = settings.parent, tools.path("caddy")
    environment = {**os.environ, "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
    arguments: list[str | Path] = [binary, "run", "--config", settings, "--watch"]
    log = folder / "caddy.log"
    with log.open("ab") as said, subprocess.Popen(arguments, env=environment, stderr=said) as process:
        try:
            _await(https, process, log)
            # What is written before it watches, it would not see.
            until(lambda: "watching config file" in log.read_text(), "it watches its settings", seconds=20, every=0.05)
            yield
        finally:
            process.terminate()


def _await(address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    host, _, port = address.rpartition(":")
    end = time.monotonic() + 20
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.05)
        else:
            return

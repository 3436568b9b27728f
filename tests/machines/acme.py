"""A real ACME authority on this computer: Let's Encrypt's pebble, with a DNS in which every name is 127.0.0.1."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from components.certificates import issue_certificate, new_authority
from engine import tools
from tests.live.ports import HOST, free_ports
from tests.live.waiting import until

EAB_KEY_ID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


@dataclass(frozen=True)
class Pebble:
    """The authority, while it runs."""

    directory: str
    vouches: Path
    """Who vouches for the directory itself, PEM."""
    management: str
    log: Path

    def root(self) -> str:
        """Who vouches for what it issues, PEM: made anew with each start."""
        answer = requests.get(f"{self.management}/roots/0", verify=str(self.vouches), timeout=10)
        answer.raise_for_status()
        return answer.text

    def issued(self) -> int:
        """How many certificates it has issued."""
        return self.log.read_text().count("Issued certificate serial")


@contextmanager
def pebble(
    folder: Path, *, http_port: int, https_port: int, seconds: int, with_accounts: bool = False
) -> Iterator[Pebble]:
    """The authority runs until the end of the block.

    Args:
        folder: Empty.
        http_port: Where it looks for answers in place of port 80.
        https_port: Likewise, of 443.
        seconds: How long its certificates last.
        with_accounts: Whether it serves only those whom it gave an account (`EAB_KEY_ID`, `EAB_KEY`).
    """
    tools.get(["pebble"])
    port, management, dns, dns_management = free_ports(4)
    authority, authority_key = new_authority("pebble")
    chain, key = issue_certificate([HOST], authority=authority, authority_key=authority_key)
    for name, text in {"ca.crt": authority, "tls.crt": chain, "tls.key": key}.items():
        (folder / name).write_text(text)
    settings = {
        "listenAddress": f"{HOST}:{port}",
        "managementListenAddress": f"{HOST}:{management}",
        "certificate": str(folder / "tls.crt"),
        "privateKey": str(folder / "tls.key"),
        "httpPort": http_port,
        "tlsPort": https_port,
        "externalAccountBindingRequired": with_accounts,
        "externalAccountMACKeys": {EAB_KEY_ID: EAB_KEY},
        "retryAfter": {"authz": 1, "order": 1},
        "profiles": {"default": {"description": "short-lived", "validityPeriod": seconds}},
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    names: list[str | Path] = [
        tools.path("pebble-challtestsrv"), "-defaultIPv4", HOST, "-defaultIPv6", "", "-dnsserver", f"{HOST}:{dns}",
        "-management", f"{HOST}:{dns_management}", "-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "",
    ]  # fmt: skip
    issues: list[str | Path] = [tools.path("pebble"), "-config", folder / "pebble.json", "-dnsserver", f"{HOST}:{dns}"]
    made = Pebble(
        f"https://{HOST}:{port}/dir", folder / "ca.crt", f"https://{HOST}:{management}", folder / "pebble.log"
    )
    # It waits some seconds before it looks, and refuses a part of what is right, unless told otherwise.
    quick = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
    with ExitStack() as running:
        for argv, log in ((names, folder / "dns.log"), (issues, made.log)):
            said = running.enter_context(log.open("wb"))
            process = running.enter_context(subprocess.Popen(argv, env=quick, stdout=said, stderr=said))
            running.callback(process.terminate)
        until(made.root, "pebble answers", seconds=20, every=0.1, through=requests.ConnectionError)
        yield made

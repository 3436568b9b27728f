"""The pre-flight: what would keep a stack from coming up and can be known before, told all at once.

The program runs it before it asks Pulumi for the first resource, in a preview as in an update. Most of it is for stacks
whose machines come from a cloud; a local stack has its own, with its network (`components/sources/local.py`).
"""

import contextlib
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from urllib.parse import urlsplit

import pulumi

from components import cluster_preflight, lifetime, machines
from components.clouds import openstack_network
from components.clouds.openstack_demand import Wanted
from components.config import ServiceConfig
from components.errors import CygnetError
from components.service import openings
from components.sources import ssh
from components.sources.source import API_PORT, WantedAddress
from engine.versions import VERSIONS

_SECONDS: Final = 1.0


class PreflightError(CygnetError):
    """A stack that would not come up; the message lists every finding."""


def check(stack: str, config: ServiceConfig) -> None:
    """Returns when nothing is known that would keep a stack from coming up.

    Raises:
        PreflightError: With every finding, each with its cure.
    """
    before = cluster_preflight.outputs(stack)
    notes: list[str] = []  # only this thread may speak to Pulumi
    questions: list[Callable[[], list[str]]] = [
        lambda: list(cluster_preflight.control_planes(before, config.machines.control_planes, config.virtual_address)),
        lambda: lifetime.findings(stack, config.machines.gone_by, lifetime.today(), notes.append),
    ]
    if config.machines.source == "openstack":
        questions += [
            lambda: openstack_findings(stack, config, notes.append),
            lambda: names(config),
            lambda: cluster_preflight.findings(before.get("kubeconfig"), str(VERSIONS["kubernetes"]), notes.append),
        ]
    if config.machines.source == "existing" and not before:
        questions.append(lambda: list(in_use(config.virtual_address)))
    with ThreadPoolExecutor() as together:
        found = [finding for answer in together.map(lambda ask: ask(), questions) for finding in answer]
    for note in notes:
        pulumi.log.warn(note)
    if found:
        count = "1 finding" if len(found) == 1 else f"{len(found)} findings"
        raise PreflightError(
            "\n".join(
                [f"stack {stack}: {count} before the first step, nothing was changed", *(f"  {one}" for one in found)]
            )
        )


def openstack_findings(stack: str, config: ServiceConfig, note: Callable[[str], None]) -> list[str]:
    """What its cloud would refuse."""
    from components.clouds import openstack_preflight  # noqa: PLC0415 - OpenStack's SDK takes seconds to load

    return openstack_preflight.findings(wanted(stack, config), note)


def in_use(virtual: WantedAddress) -> Iterator[str]:
    """What has the address already that control planes shall share, though there is no cluster yet."""
    for port in (ssh.PORT, API_PORT) if virtual else ():
        with contextlib.suppress(OSError), socket.create_connection((str(virtual), port), timeout=_SECONDS):
            yield (
                f"cygnet:cluster.api_address: {virtual} is in use: something answers at port {port}. Take a free "
                "address of the machines' network"
            )
            return


def names(config: ServiceConfig) -> list[str]:
    """Hosts that the stack file names and that are not found: each with its key."""
    with ThreadPoolExecutor() as together:
        hosts = hosts_by_key(config)
        return [finding for finding in together.map(_unresolved, hosts, hosts.values()) if finding]


def hosts_by_key(config: ServiceConfig) -> dict[str, str]:
    """The hosts of others on which the stack stands, by the key that names them."""
    return dict(_hosts(config))


def _hosts(config: ServiceConfig) -> Iterator[tuple[str, str]]:
    if config.eos.server:
        yield "cygnet:eos.server", _host(config.eos.server)
    for name, instance in config.eos.instances.items():
        yield f"cygnet:eos.instances.{name}.server", _host(instance.server)
    for index, proxy in enumerate(config.cvmfs.proxies):
        yield f"cygnet:cvmfs.proxies[{index}]", _host(proxy)
    if not config.cvmfs.proxies:  # otherwise it is they who look for the servers
        for name, repository in config.cvmfs.repositories.items():
            for index, server in enumerate(repository.servers):
                yield f"cygnet:cvmfs.repositories.{name}.servers[{index}]", _host(server)


def _host(place: str) -> str:
    """The host of HOST, HOST:PORT or a URL.

    >>> _host("eos.example.org:1094"), _host("http://squid.example.org:3128")
    ('eos.example.org', 'squid.example.org')
    """
    return urlsplit(place if "://" in place else f"//{place}").hostname or place


def _unresolved(key: str, host: str) -> str | None:
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        return (
            f"{key}: {host} is not found from this computer: {error.strerror}. Correct the name, or the resolver: "
            f"getent hosts {host}"
        )
    return None


def wanted(stack: str, config: ServiceConfig) -> Wanted:
    """What a stack shall have in its cloud."""
    where = config.machines.openstack
    if where is None:
        raise AssertionError("the configuration was checked")
    rules = openstack_network.rules(where.admin_networks, openings(config), behind_router=where.own_network is not None)
    named = {openstack_network.group_name(f"cygnet-{stack}", name): len(listed) for name, listed in rules.items()}
    return Wanted(stack, where, machines.servers(config.machines.groups), named, config.virtual_address)

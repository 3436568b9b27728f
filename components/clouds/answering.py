"""Servers whose SSH server answers: a cloud says that a server runs long before one can sign in to it."""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final

import pulumi
from pulumi.dynamic import CreateResult, DiffResult, Resource, ResourceProvider, UpdateResult

from components.errors import CygnetError
from components.sources import files, ssh

_START_SECONDS: Final = 600.0  # a cloud that is busy takes minutes until cloud-init has started SSH
_CONNECT_SECONDS: Final = 5.0


class _AnsweringServerProvider(ResourceProvider):
    def create(self, props: dict[str, Any]) -> CreateResult:
        wait_for_ssh(props["server"], props.get("address", ""), props.get("via"), props["private_key"])
        return CreateResult(id_=props["instance"], outs=props)

    def update(self, _id: str, _olds: dict[str, Any], news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(outs=news)

    def diff(self, _id: str, olds: dict[str, Any], news: dict[str, Any]) -> DiffResult:
        replaces = [key for key in ("instance", "address") if olds[key] != news[key]]
        return DiffResult(changes=bool(replaces), replaces=replaces, delete_before_replace=True)


class AnsweringServer(Resource, module="cygnet", name="AnsweringServer"):
    """A server whose SSH server answers: there when cloud-init has done its work. Gives `address` and `instance`.

    Args:
        server: Its name in the cloud, for messages.
        instance: Its ID in the cloud.
        address: Of the server.
        via: The host through which SSH goes, as a host of machines has it; None: it is reached directly.
        private_key: What opens that host; it is not needed without one.
    """

    address: pulumi.Output[str]
    instance: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        *,
        server: pulumi.Input[str],
        instance: pulumi.Input[str],
        address: pulumi.Input[str],
        via: pulumi.Input[Mapping[str, Any]] | None = None,
        private_key: pulumi.Input[str] = "",
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        props = {
            "server": server,
            "instance": instance,
            "address": address,
            "via": via,
            "private_key": pulumi.Output.secret(private_key),
        }
        secret = pulumi.ResourceOptions(additional_secret_outputs=["private_key"])
        super().__init__(_AnsweringServerProvider(), name, props, pulumi.ResourceOptions.merge(opts, secret))


def wait_for_ssh(
    name: str,
    address: str,
    via: Mapping[str, Any] | None = None,
    private_key: str = "",
    seconds: float = _START_SECONDS,
) -> None:
    """Returns when a server's SSH server answers.

    Args:
        name: Of the server in the cloud.
        address: Of the server.
        via: The host through which SSH goes, if it does.
        private_key: What opens that host.
        seconds: How long it may take.

    Raises:
        CygnetError: It does not, in time.
    """
    if not address:
        raise CygnetError(
            f"{name} has no address: the cloud could not make it, and `openstack server show {name}` says why. When "
            "that is mended, `cygnet up` makes it anew"
        )
    deadline = time.monotonic() + seconds
    with _question(via, private_key) as answers:
        while not answers(address):
            if time.monotonic() > deadline:
                way = f" through {via['address']}" if via else ""
                raise CygnetError(
                    f"{name}: no SSH server answers on {address}:{ssh.PORT}{way} after {seconds:.0f} s. If this "
                    "computer's address is in cygnet:machines.openstack.admin_networks and it reaches the network, see "
                    f"what the server says: openstack console log show {name}. Then run `pulumi up` again: it goes on."
                )
            time.sleep(1)


@contextlib.contextmanager
def _question(via: Mapping[str, Any] | None, private_key: str) -> Iterator[Callable[[str], bool]]:
    """How to ask whether SSH answers at an address."""
    if via is None:
        yield _answers
        return
    with files.private_folder("cygnet-ssh-") as folder:
        files.write(folder / "key", private_key, 0o600)
        yield partial(ssh.answers_through, ssh.access(folder, [via], folder / "key"), via)


def _answers(address: str) -> bool:
    try:
        with socket.create_connection((address, ssh.PORT), timeout=_CONNECT_SECONDS) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False

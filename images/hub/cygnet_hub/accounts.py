"""Sign-in with the accounts of one mounted file, for sites and courses without an identity provider.

accounts.json: {"alice": {"hash": "$argon2id$...", "admin": false, "uid": 123456}, ...}
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from jupyterhub.auth import Authenticator  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from tornado.web import HTTPError
from traitlets import List, Unicode

from cygnet_hub.patience import Patience
from cygnet_hub.start import refusal

Network = IPv4Network | IPv6Network

# One check takes 64 MiB and a core for a tenth of a second: a class that signs in at once waits its turn.
CHECKS_AT_ONCE = 2
LONGEST_NAME = 64

OPERATORS = "operators"
"""The hub's group of those who may see and stop all sessions; what that is stands in the role of the hub."""


class Account(BaseModel):
    """One person's account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str
    admin: bool = False
    """Whether it is an operator's. Nobody is an administrator in JupyterHub's sense, who may open others' sessions."""
    uid: int = Field(gt=0)
    """The number that stands for the user on machines."""

    @field_validator("hash")
    @classmethod
    def _is_argon2(cls, text: str) -> str:
        try:
            extract_parameters(text)
        except InvalidHashError:
            raise ValueError("is no argon2 hash") from None
        return text


_ACCOUNTS = TypeAdapter(dict[str, Account])


class Accounts:
    """The accounts in a file; read again when the file was replaced, as Kubernetes does with a changed Secret."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._version: tuple[int, int] | None = None
        self._accounts: Mapping[str, Account] = {}

    def all(self) -> Mapping[str, Account]:
        """Accounts by user name. Raises OSError or ValueError for a file that cannot be read."""
        status = os.stat(self.file)
        version = (status.st_ino, status.st_mtime_ns)
        if version != self._version:
            try:
                self._accounts = _ACCOUNTS.validate_python(json.loads(self.file.read_text(encoding="utf-8")))
            except ValidationError as error:  # its own text would show the hashes
                wrong = sorted({str(finding["loc"][0]) for finding in error.errors() if finding["loc"]})
                raise ValueError(f"{self.file}: not an account: {', '.join(wrong) or 'the whole file'}") from None
            self._version = version
        return self._accounts


class AccountsAuthenticator(Authenticator):  # type: ignore[misc]
    """Checks a password against the accounts; slows guessing down."""

    accounts_file = Unicode("/etc/cygnet/secrets/accounts.json", config=True, help="The accounts; see the module.")
    trusted_networks: Any = List(config=True, help="Networks whose X-Forwarded-For is believed: gateway and proxy.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accounts = Accounts(Path(self.accounts_file))
        self.patience = Patience()
        self._checks = asyncio.Semaphore(CHECKS_AT_ONCE)
        # What an unknown user's password is checked against, so that the answer takes as long as a known one's.
        self._nobody = PasswordHasher().hash(os.urandom(16).hex())

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> dict[str, Any] | None:
        """The user as JupyterHub wants it, or None; HTTP 429 while the user or the address has to wait."""
        # What nobody can be called is cut short, because it is remembered for a while.
        name = self.normalize_username(data.get("username", ""))[:LONGEST_NAME]
        peer = handler.request.connection.context.address[0]
        forwarded = handler.request.headers.get_list("X-Forwarded-For")
        address = client_address(peer, forwarded, self.trusted_networks)
        # Asked after the turn has come, so that many guesses sent at once are not all free.
        async with self._checks:
            if seconds := self.patience.seconds(name, address):
                self.log.warning("Sign-in of %r from %s refused: %d s to wait", name, address, seconds)
                raise HTTPError(429, f"Too many wrong passwords. Try again in {seconds} s.")
            account = self.accounts.all().get(name)
            expected = self._nobody if account is None else account.hash
            matches = await asyncio.to_thread(verify, expected, data.get("password", ""))
        if account is None or not matches:
            self.patience.wrong(name, address)
            return None
        self.patience.right(name, address)
        return as_user(name, account)

    def user_id(self, name: str) -> int:
        """The number that stands for a user on machines.

        Raises:
            HTTPError: The account is gone.
        """
        account = self.accounts.all().get(name)
        if account is None:
            raise refusal(403, f"There is no account {name} any more; ask those who run this service.")
        return account.uid

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:  # noqa: ARG002
        """False for a user whose account is gone: the hub then asks for a new sign-in."""
        account = self.accounts.all().get(user.name)
        return False if account is None else as_user(user.name, account)


def as_user(name: str, account: Account) -> dict[str, Any]:
    """The account as JupyterHub wants it.

    >>> as_user("root", Account(hash=PasswordHasher(1, 8, 1).hash("x"), admin=True, uid=1))
    {'name': 'root', 'admin': False, 'groups': ['operators']}
    """
    return {"name": name, "admin": False, "groups": [OPERATORS] if account.admin else []}


def verify(expected: str, password: str) -> bool:
    """Whether `password` is the one of the argon2 hash `expected`."""
    try:
        return PasswordHasher().verify(expected, password)
    except VerificationError:
        return False


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """The address of whoever asked: the last one that not one of our own proxies added.

    A client can write any X-Forwarded-For; what our proxies append to it, it cannot.

    >>> from ipaddress import ip_network
    >>> client_address("10.244.1.5", ["6.6.6.6, 192.0.2.7, 10.244.0.3"], [ip_network("10.244.0.0/16")])
    '192.0.2.7'
    """
    hops = [hop.strip() for line in forwarded for hop in line.split(",")]
    for hop in [peer, *reversed(hops)]:
        try:
            address = ip_address(hop)
        except ValueError:  # not written by a proxy of ours
            break
        peer = str(getattr(address, "ipv4_mapped", None) or address)
        if not any(ip_address(peer) in network for network in trusted):
            break
    return peer

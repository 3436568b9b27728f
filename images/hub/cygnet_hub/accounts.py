"""Sign-in with the accounts of one mounted file, for sites and courses without an identity provider.

accounts.json: {"alice": {"hash": "$argon2id$...", "admin": false, "groups": ["lab"], "uid": 123456}, ...}
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from tornado.web import HTTPError
from traitlets import Unicode

from cygnet_hub.password_sign_in import PasswordAuthenticator
from cygnet_hub.rights import admitted
from cygnet_hub.start import Refusal


class Account(BaseModel):
    """One person's account."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hash: str
    admin: bool = False
    """Whether it is an operator's."""
    groups: tuple[str, ...] = ()
    """Of which it is a member."""
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


class AccountsAuthenticator(PasswordAuthenticator):
    """Checks a password against the accounts."""

    # One check takes 64 MiB and a core for a tenth of a second: a class that signs in at once waits its turn.
    checks_at_once = 2

    accounts_file = Unicode("/etc/cygnet/secrets/accounts.json", config=True, help="The accounts; see the module.")

    @staticmethod
    def told(settings: Any, secrets: Path) -> dict[str, Any]:
        """What of the hub's settings is for this kind, as traits; `secrets` is the folder of its secrets."""
        return {"accounts_file": str(secrets / "accounts.json"), "proxies": settings.proxies()}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.accounts = Accounts(Path(self.accounts_file))
        # What an unknown user's password is checked against, so that the answer takes as long as a known one's.
        self._nobody = PasswordHasher().hash(os.urandom(16).hex())

    async def check(self, name: str, password: str) -> dict[str, Any] | None:
        """The user with this account and password; None: there is no such one."""
        account = self.accounts.all().get(name)
        expected = self._nobody if account is None else account.hash
        matches = await asyncio.to_thread(verify, expected, password)
        if account is None or not matches:
            return None
        return admitted(name, account.groups, self.rights, operator=account.admin)

    def user_id(self, user: Any) -> int:
        """The number that stands for a user on machines.

        Raises:
            HTTPError: The account is gone.
        """
        account = self.accounts.all().get(user.name)
        if account is None:
            raise Refusal(403, f"There is no account {user.name} any more; ask those who run this service.")
        return account.uid

    async def refresh_user(self, user: Any, handler: Any = None) -> bool | dict[str, Any]:  # noqa: ARG002
        """False for a user whose account or right is gone: the hub then asks for a new sign-in, which says why."""
        account = self.accounts.all().get(user.name)
        if account is None:
            return False
        try:
            return admitted(user.name, account.groups, self.rights, operator=account.admin)
        except HTTPError:
            return False


def verify(expected: str, password: str) -> bool:
    """Whether `password` is the one of the argon2 hash `expected`."""
    try:
        return PasswordHasher().verify(expected, password)
    except VerificationError:
        return False

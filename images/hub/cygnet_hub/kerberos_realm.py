"""A Kerberos realm, asked by MIT's own programs: each runs for itself, can be waited for, and is ended when it hangs.

Passwords go to them by a pipe, tickets come from them in a file that only this process's user can read.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

SECONDS = 15
_WRONG = ("Password incorrect", "not found in Kerberos database", "Preauthentication failed", "Malformed", "Decrypt")
# What a user can do something about, in words; everything else is told to be as if the realm did not answer.
_REASONS = {
    "Password expired": "your password has expired; change it where your institute says, then sign in",
    "Password has expired": "your password has expired; change it where your institute says, then sign in",
    "credentials have been revoked": "your account is locked or disabled; ask those who run it",
    "entry in database has expired": "your account has expired; ask those who run it",
    "policy rejects request": "your account may not get tickets; ask those who run it",
}
_ENDED = ("Ticket expired", "can't renew", "KDC can't fulfill", "Matching credential not found", "No credentials")
_TIME = r"(\d\d/\d\d/\d\d \d\d:\d\d:\d\d)"
_VALID = re.compile(rf"^{_TIME}  {_TIME}  krbtgt/", re.MULTILINE)


class RefusedError(Exception):
    """The realm said no. `told` is what a user may read of it; empty: name or password is wrong, or a ticket ended."""

    def __init__(self, told: str = "") -> None:
        super().__init__(told or "refused")
        self.told = told


class UnreachableError(Exception):
    """The realm does not answer, or not as it should; the text is the program's."""


class Realm:
    """One realm. With a `keytab` (base64) its word is checked: who stands between cannot say yes in its place."""

    def __init__(self, name: str, config: Path, keytab: Path | None = None) -> None:
        self.name, self.config, self._keytab = name, config, keytab

    def __deepcopy__(self, _: Any) -> Self:
        """What traitlets makes of a setting."""
        return self

    async def ticket(self, user: str, password: str) -> bytes:
        """The file of tickets of a user who has this password, with a renewable ticket.

        Raises:
            RefusedError: Name or password is wrong, or the user is barred.
            UnreachableError: The realm does not answer.
        """
        if not password or "\n" in password:
            raise RefusedError
        with _Folder() as folder:
            principal = f"{user}@{self.name}"
            await self._run(["kinit", "-c", folder.cache, "--", principal], f"{password}\n")
            if self._keytab:
                keytab = folder.path / "keytab"
                keytab.write_bytes(base64.b64decode(self._keytab.read_text(encoding="ascii")))
                own = await self._run(["klist", "-k", str(keytab)])
                await self._run(["kvno", "-q", "-c", folder.cache, "-k", str(keytab), own.split()[-1]])
                # Without the ticket for this service, which is nobody else's business.
                await self._run(["kinit", "-R", "-c", folder.cache])
            return folder.read()

    async def renewed(self, ticket: bytes) -> bytes:
        """The same with another time. Raises RefusedError when it ended or is not renewable, and UnreachableError."""
        with _Folder(ticket) as folder:
            await self._run(["kinit", "-R", "-c", folder.cache])
            return folder.read()

    async def times(self, ticket: bytes) -> tuple[float, float]:
        """When a ticket begins and ends, in seconds since 1970."""
        with _Folder(ticket) as folder:
            found = _VALID.search(await self._run(["klist", "-c", folder.cache]))
        if not found:
            raise RefusedError
        begins, ends = (
            dt.datetime.strptime(text, "%m/%d/%y %H:%M:%S").replace(tzinfo=dt.UTC) for text in found.groups()
        )
        return begins.timestamp(), ends.timestamp()

    async def _run(self, argv: Sequence[str], given: str = "") -> str:
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC", "KRB5_CONFIG": str(self.config)}
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(SECONDS):
                said, complaint = await process.communicate(given.encode())
        except TimeoutError:
            raise UnreachableError(f"{argv[0]} has waited {SECONDS} s in vain") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise _error(f"{said.decode(errors='replace')} {complaint.decode(errors='replace')}")
        return said.decode(errors="replace")


class _Folder:
    """A file of tickets, in a folder that only we can read and that goes with it."""

    def __init__(self, ticket: bytes | None = None) -> None:
        self._made = tempfile.TemporaryDirectory(prefix="ticket-")
        self.path = Path(self._made.name)
        if ticket is not None:
            (self.path / "cache").write_bytes(ticket)

    @property
    def cache(self) -> str:
        """As MIT's programs name it."""
        return f"FILE:{self.path}/cache"

    def read(self) -> bytes:
        """What is in it."""
        return (self.path / "cache").read_bytes()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._made.cleanup()


def _error(said: str) -> Exception:
    """What a program that failed meant.

    >>> _error("kinit: Client's credentials have been revoked while getting initial credentials").told
    'your account is locked or disabled; ask those who run it'
    """
    for words, told in _REASONS.items():
        if words in said:
            return RefusedError(told)
    if any(words in said for words in (*_WRONG, *_ENDED)):
        return RefusedError()
    return UnreachableError(said.strip()[-300:])

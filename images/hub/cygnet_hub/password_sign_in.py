"""Sign-in with names and passwords, wherever these are checked: guessing is slowed down."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tornado.web import HTTPError
from traitlets import Instance

from cygnet_hub.address import Proxies
from cygnet_hub.audit import Audited
from cygnet_hub.patience import Patience
from cygnet_hub.rights import Rights

LONGEST_NAME = 64


class PasswordAuthenticator(Audited):
    """Asks `check`, in turn. Whose password was wrong has to wait before the next one is looked at."""

    checks_at_once = 2

    rights: Any = Instance(Rights, (), config=True, help="Who may sign in, and who is an operator.")
    proxies: Any = Instance(Proxies, ("localhost", ()), config=True, help="What stands between browsers and the hub.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patience = Patience()
        self._checks = asyncio.Semaphore(self.checks_at_once)

    async def check(self, name: str, password: str) -> dict[str, Any] | None:
        """The user as JupyterHub wants it, or None when name and password do not belong together."""
        raise NotImplementedError

    async def authenticate(self, handler: Any, data: Mapping[str, str]) -> dict[str, Any] | None:
        """What `check` says; HTTP 429 while the user or the address has to wait."""
        # What nobody can be called is cut short, because it is remembered for a while.
        name = self.normalize_username(data.get("username", ""))[:LONGEST_NAME]
        address = self.proxies.client_address(handler.request)
        # Asked after the turn has come, so that many guesses sent at once are not all free.
        async with self._checks:
            if seconds := self.patience.seconds(name, address):
                self.log.warning("Sign-in of %r from %s refused: %d s to wait", name, address, seconds)
                raise HTTPError(429, f"Too many wrong passwords. Try again in {seconds} s.")
            found = await self.check(name, data.get("password", ""))
        if found is None:
            self.patience.wrong(name, address)
        else:
            self.patience.right(name, address)
        return found

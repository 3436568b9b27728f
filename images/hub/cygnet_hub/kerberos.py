"""Sign-in with a Kerberos password; the ticket that it gives is renewed here, and handed to the user's sessions.

A ticket is kept encrypted with what else the hub keeps of a sign-in. Kerberos takes no ticket back: who is barred in
the realm can go on until a ticket can be renewed no more, and who is taken out of `names` cannot.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from tornado.web import HTTPError
from traitlets import Dict, Instance, List

from cygnet_hub.access_token import asked_by_session
from cygnet_hub.guests import Guests, followed
from cygnet_hub.kerberos_realm import Realm, RefusedError, UnreachableError
from cygnet_hub.password_sign_in import PasswordAuthenticator
from cygnet_hub.rights import NotAdmittedError, admitted
from cygnet_hub.start import Refusal
from cygnet_hub.user_ids import user_id

TICKET = "kerberos_ticket"
"""In what is kept of a sign-in: the ticket, as the base64 of MIT's file of tickets."""


class KerberosAuthenticator(PasswordAuthenticator):
    """Asks the realm whose password it is."""

    # The realm does the work, and counts wrong passwords itself.
    checks_at_once = 16

    realm: Any = Instance(Realm, config=True, help="The realm, and how it is asked.")
    names: Any = List(config=True, help="Who may sign in; empty: everyone in the realm.")
    groups: Any = Dict(config=True, help="The names in each group.")
    guests: Any = Instance(Guests, None, allow_none=True, config=True, help="Where machines are told who somebody is.")

    @staticmethod
    def told(settings: Any, secrets: Path) -> dict[str, Any]:
        """What of the hub's settings is for this kind, as traits; `secrets` is the folder of its secrets."""
        given = settings.auth
        keytab = secrets / "kerberos-keytab"
        return {
            "proxies": settings.proxies(),
            "realm": Realm(given.realm, secrets / "krb5.conf", keytab if keytab.exists() else None),
            "names": list(given.names),
            "groups": {group: list(names) for group, names in given.groups.items()},
            "enable_auth_state": True,
            "auth_refresh_age": 60,
        }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._renewals: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def check(self, name: str, password: str) -> dict[str, Any] | None:
        """The user with a ticket.

        Raises:
            HTTPError: 403 where the realm knows the user but lets them in no more; 503 where it does not answer.
        """
        try:
            ticket = await self.realm.ticket(name, password)
        except RefusedError as error:
            if not error.told:
                return None
            raise Refusal(403, f"{self.realm.name} refused {name}: {error.told}.") from error
        except UnreachableError as error:
            self.log.error("%s does not answer: %s", self.realm.name, error)
            raise Refusal(
                503,
                f"Sign-in at {self.realm.name} does not answer now. Try again in some minutes; sessions go on.",
            ) from error
        return {**self._admitted(name), "auth_state": {TICKET: base64.b64encode(ticket).decode()}}

    def _admitted(self, name: str) -> dict[str, Any]:
        if self.names and name not in {*self.names, *self.rights.admins}:
            raise NotAdmittedError(f"{name} may not sign in here. Ask those who run this service.")
        groups = [group for group, members in self.groups.items() if name in members]
        return admitted(name, groups, self.rights)

    @followed
    async def refresh_user(self, user: Any, handler: Any = None, **_: Any) -> bool | dict[str, Any]:  # noqa: ARG002
        """Renews the ticket in the second half of its time.

        False: it has ended, or the realm gives no other; the user has to sign in again. What stands in `names` and
        `rights` holds at once.

        Raises:
            NotAdmittedError: By that the user may not sign in any more.
        """
        async with self._renewals[user.name]:
            state = await user.get_auth_state() or {}
            if TICKET not in state:
                return False
            try:
                model = self._admitted(user.name)
                ticket, renewed = await self._renew(base64.b64decode(state[TICKET]))
            except RefusedError as error:
                self.log.info("%s has to sign in again: %s", user.name, error)
                return False
            if renewed:
                state = {**state, TICKET: base64.b64encode(ticket).decode()}
                await user.save_auth_state(state)
            return {**model, "auth_state": state}

    async def _renew(self, ticket: bytes) -> tuple[bytes, bool]:
        begins, ends = await self.realm.times(ticket)
        if time.time() < (begins + ends) / 2:
            return ticket, False
        try:
            return await self.realm.renewed(ticket), True
        except UnreachableError as error:
            if time.time() > ends:
                raise RefusedError from error
            self.log.warning("A ticket stays as it is: %s does not answer: %s", self.realm.name, error)
            return ticket, False

    def user_id(self, user: Any) -> int:
        """The number that stands for a user on machines."""
        return user_id(user.name)

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """Pages for signing in and out, and where a session gets its user's ticket."""
        return [*super().get_handlers(app), (r"/api/kerberos-ticket", KerberosTicket)]


class KerberosTicket(APIHandler):
    """Answers GET with {"ticket": base64, "ends_at": seconds since 1970, "renewed_at": likewise, "config": "..."}."""

    async def get(self) -> None:
        """Answers a session, by the token that the hub gave it."""
        user = asked_by_session(self)
        if await self.refresh_auth(user, force=True) is None:
            raise HTTPError(403, "the user has to sign in again")
        ticket = (await user.get_auth_state() or {})[TICKET]
        realm = self.authenticator.realm
        begins, ends = await realm.times(base64.b64decode(ticket))
        self.set_header("Cache-Control", "no-store")
        times = {"ends_at": ends, "renewed_at": (begins + ends) / 2}
        self.write({"ticket": ticket, **times, "config": realm.config.read_text(encoding="utf-8")})

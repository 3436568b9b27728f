"""Guests: users whom the stack does not name. Before a session of theirs starts, machines are told who they are.

The list is a ConfigMap with a key for each of them. Every machine watches it, serves a home to whoever is in it, and
opens data to the groups that stand there. Who may come in no longer is taken out, and loses the files at once, in
sessions that run, too.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import wraps
from typing import Any, Self

import aiohttp
from kubernetes_asyncio.client import ApiException
from kubespawner.clients import load_config, shared_client

from cygnet_hub.model import Model
from cygnet_hub.rights import NotAdmittedError
from cygnet_hub.start import Refusal
from cygnet_hub.user_ids import NAME, NUMBERS

LOG = logging.getLogger("jupyterhub")
AWAY = (ApiException, aiohttp.ClientError, OSError, TimeoutError)
"""What Kubernetes' client raises where there is no answer, or no right one."""
SECONDS = 10
_TRIES = 5
_CONFLICT = 409

Refresh = Callable[..., Awaitable[Any]]


class GuestsSettings(Model):
    """Where the list is."""

    namespace: str
    name: str
    groups: tuple[str, ...] = ()
    """Of a user's groups, those that machines have to know."""


class Guests:
    """The list."""

    def __init__(self, settings: GuestsSettings) -> None:
        self._settings = settings
        self._turn = asyncio.Lock()  # a whole class comes at once

    def __deepcopy__(self, _: Any) -> Self:
        """What traitlets makes of a setting."""
        return self

    async def admit(self, name: str, uid: int, groups: Iterable[str]) -> None:
        """Makes a user known, or says of one who is what is true now.

        Raises:
            HTTPError: 403, the user can have no home; 503, machines cannot be told.
        """
        if not NAME.fullmatch(name) or uid not in NUMBERS:
            raise Refusal(403, f"{name[:64]!r} with the number {uid} can have no home here: names begin with a letter.")
        text = self._entry(uid, groups)

        def changed(known: Mapping[str, str]) -> dict[str, str | None]:
            taken = [other for other, one in known.items() if other != name and json.loads(one)["uid"] == uid]
            if taken:
                LOG.error(
                    "%s and %s have one number, %d; whichever is gone is taken out by: kubectl patch configmap %s "
                    "--namespace %s --type merge --patch '{\"data\": {\"NAME\": null}}'",
                    name, taken[0], uid, self._settings.name, self._settings.namespace,
                )  # fmt: skip
                raise Refusal(403, f"Your number {uid} is another user's here. Tell those who run this service.")
            return {} if known.get(name) == text else {name: text}

        try:
            await self._change(changed)
        except AWAY as error:
            LOG.error("Machines cannot be told who %s is: %s", name, error)
            raise Refusal(503, "Your home cannot be made ready now. Try again in some minutes.") from error

    async def regroup(self, name: str, groups: Iterable[str]) -> None:
        """Says of a user who is known, and of nobody else, in which groups they are now."""
        groups = list(groups)
        await self._try(
            name,
            lambda known: {name: self._entry(json.loads(known[name])["uid"], groups)} if name in known else {},
        )

    async def forget(self, name: str) -> None:
        """Takes a user out of the list."""
        await self._try(name, lambda known: {name: None} if name in known else {})

    def _entry(self, uid: int, groups: Iterable[str]) -> str:
        return json.dumps({"uid": uid, "groups": sorted({*groups} & {*self._settings.groups})})

    async def _try(self, name: str, change: Callable[[Mapping[str, str]], dict[str, str | None]]) -> None:
        try:
            await self._change(change)
        except AWAY as error:
            LOG.warning("Machines cannot be told what became of %s, until the next time: %s", name, error)

    async def _change(self, change: Callable[[Mapping[str, str]], dict[str, str | None]]) -> None:
        """Changes what `change` says of what is there, and nothing that somebody else changed meanwhile."""
        async with self._turn:
            for tries_left in reversed(range(_TRIES)):
                try:
                    await self._change_once(change)
                except ApiException as error:
                    if error.status != _CONFLICT or not tries_left:
                        raise
                else:
                    return

    async def _change_once(self, change: Callable[[Mapping[str, str]], dict[str, str | None]]) -> None:
        load_config()
        api, where = shared_client("CoreV1Api"), (self._settings.name, self._settings.namespace)
        found = await api.read_namespaced_config_map(*where, _request_timeout=SECONDS)
        known = found.data or {}
        if wanted := {name: text for name, text in change(known).items() if known.get(name) != text}:
            patch = {"metadata": {"resourceVersion": found.metadata.resource_version}, "data": wanted}
            await api.patch_namespaced_config_map(
                *where, patch, _content_type="application/merge-patch+json", _request_timeout=SECONDS
            )


def admitting(guests: Guests) -> Callable[[Any], Awaitable[None]]:
    """What the spawner does before a session starts."""

    async def admit(spawner: Any) -> None:
        uid = spawner.authenticator.user_id(spawner.user)
        uid = await uid if inspect.isawaitable(uid) else uid
        await guests.admit(spawner.user.name, uid, [group.name for group in spawner.user.groups])

    return admit


def followed(refresh: Refresh) -> Refresh:
    """Of an authenticator's `refresh_user`: machines learn what came of it; who is not admitted signs in again.

    Whoever the provider just does not know any more keeps the files of a session that runs: that is so every night,
    when a single sign-on ends.
    """

    @wraps(refresh)
    async def refresh_user(self: Any, user: Any, handler: Any = None, **options: Any) -> Any:
        guests: Guests | None = self.guests
        try:
            model = await refresh(self, user, handler, **options)
        except NotAdmittedError as error:
            self.log.info("%s has to sign in again: %s", user.name, error)
            if guests:
                await guests.forget(user.name)
            return False
        if guests and isinstance(model, dict):
            await guests.regroup(user.name, model["groups"])
        return model

    return refresh_user

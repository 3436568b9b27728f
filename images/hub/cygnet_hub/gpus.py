"""The pool of GPUs: who has some, who waits, and what is said of it on the start page and on the page that waits.

How many there are is what Kubernetes' nodes tell. Who has some are the hub's own sessions that run or start. The list
(`waiting`) is kept in a file, so that a restart of the hub takes nobody's place; it is looked at every few seconds from
the first time that somebody asks.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self
from weakref import WeakSet

from jupyterhub.handlers import BaseHandler
from kubespawner.clients import load_config, shared_client
from tornado.web import HTTPError, authenticated

from cygnet_hub.ending import duration
from cygnet_hub.guests import AWAY
from cygnet_hub.settings import Gpu, Profile
from cygnet_hub.start import Refusal
from cygnet_hub.unwell import TAINT
from cygnet_hub.waiting import Entry, Event, Holder, Moment, WaitingList

LOG = logging.getLogger("jupyterhub")
FILE = "waiting.json"
LOOKED_EVERY_SECONDS = 5
_ASKED_SECONDS = 10

Total = Mapping[str, int]
Count = Callable[[], Awaitable[Total]]


class Pool:
    """All GPUs of the service.

    Args:
        profiles: The sizes of sessions; those without GPUs are none of its business.
        file: Where the list is kept.
        claim_seconds: How long GPUs are kept for somebody whose turn it is.
        count: Tells how many GPUs there are, by model.
    """

    def __init__(self, profiles: Sequence[Profile], file: Path, claim_seconds: float, count: Count) -> None:
        self._profiles, self._file, self._claim_seconds, self._count = profiles, file, claim_seconds, count
        self._total: Total = {}
        self._counted_at = -float("inf")
        self._list: WaitingList | None = None
        self._missed: set[str] = set()
        self._watching: asyncio.Task[None] | None = None
        self._admitted: WeakSet[Any] = WeakSet()

    def __deepcopy__(self, _: Any) -> Self:
        """What traitlets makes of a setting; there is one list."""
        return self

    async def admit(self, spawner: Any) -> None:
        """Lets a session start that needs no GPU, or for which some are free and nobody else waits.

        Raises:
            HTTPError: 429, there is a place in the list now; 503, nobody knows whether any is free.
        """
        gpu = self._wanted(spawner)
        if gpu is None:
            return
        user = spawner.user
        waiting_list = await self._look(user)
        self._missed.discard(user.name)
        self._tell(waiting_list.ask(user.name, gpu.model, gpu.count, self._moment(user)))
        self._keep()
        self._watch(user)
        entry = waiting_list.entry(user.name)
        if entry and not entry.until:
            raise Refusal(429, self._waits(waiting_list, entry, self._moment(user)))
        self._admitted.add(spawner)

    async def said(self, profile: Profile, spawner: Any) -> str:
        """What the start page says of a size with GPUs besides its title; nothing of others."""
        if (gpu := profile.gpu) is None:
            return ""
        try:
            waiting_list = await self._look(spawner.user)
        except HTTPError as error:
            return str(error.log_message)
        total, at = self._total.get(gpu.model, 0), self._moment(spawner.user)
        if not total:
            return f"No machine with {gpu.model} is there now."
        free, waiting = waiting_list.free(gpu.model, at), len(waiting_list.waiting(gpu.model))
        if free >= gpu.count and not waiting:
            return f"{free} of {total} free."
        people = f" {waiting} {'people wait' if waiting > 1 else 'person waits'}." if waiting else ""
        begins = waiting_list.expected_for_next(gpu.model, gpu.count, at)
        return f"{free or 'None'} of {total} free.{people}{expected(begins)}"

    async def place(self, user: Any) -> dict[str, Any]:
        """What the page that waits says: `text`, and whether it is a place ("waits"), a claim ("claim"), or none ("").

        With a claim also what to start (`options`), and whether another session runs (`busy`).
        """
        spawner = user.spawner
        try:
            waiting_list = await self._look(user)
        except HTTPError as error:
            return {"state": "", "text": str(error.log_message)}
        entry = waiting_list.entry(user.name)
        if entry is None:
            text = "Your turn came, and passed. Ask again when you like." if user.name in self._missed else ""
            return {"state": "", "text": text}
        if entry.until:
            chosen, offered = spawner.orm_spawner.user_options or {}, self._offered(entry)
            profile = chosen["profile"] if chosen.get("profile") in offered else offered[0]
            left = duration(max(60, round((entry.until - time.time()) / 60) * 60))
            text = f"It is your turn: {_gpus(entry)} for you, for {left} from now. Then the next one has it."
            options = {**chosen, "profile": profile}
            return {"state": "claim", "text": text, "options": options, "busy": bool(spawner.active)}
        return {"state": "waits", "text": self._waits(waiting_list, entry, self._moment(user))}

    def leave(self, name: str) -> None:
        """Takes a user's place away."""
        if self._list:
            self._list.leave(name)
            self._missed.discard(name)
            self._keep()

    def _wanted(self, spawner: Any) -> Gpu | None:
        """The GPUs of the size that a session has, or is to have."""
        chosen = (spawner.user_options or {}).get("profile")
        found = next((one for one in self._profiles if one.name == chosen), self._profiles[0])
        return found.gpu

    def _moment(self, one: Any) -> Moment:
        """Now, as the hub knows it that `one` is a user of. Who starts has what was admitted, and nothing before."""
        found = []
        for user in list(dict.values(one.settings["users"])):
            for spawner in list(user.spawners.values()):
                has_begun = spawner.ready or (spawner.active and spawner in self._admitted)
                if has_begun and (gpu := self._wanted(spawner)):
                    found.append(_holder(spawner, gpu))
        return Moment(time.time(), self._total, found)

    async def _look(self, user: Any) -> WaitingList:
        """The list as it is now. Raises HTTPError 503."""
        if self._list is None:
            self._list = self._read()
        if time.monotonic() - self._counted_at > LOOKED_EVERY_SECONDS:
            try:
                self._total = await self._count()
            except AWAY as error:
                LOG.warning("How many GPUs there are cannot be read: %s", error)
                if self._counted_at < 0:
                    raise Refusal(503, "Whether a GPU is free is not known now. Try again in a minute.") from error
            self._counted_at = time.monotonic()
        before = self._list.state()
        self._tell(self._list.look(self._moment(user)))
        if self._list.state() != before:
            self._keep()
        self._watch(user)
        return self._list

    def _watch(self, user: Any) -> None:
        """Goes on looking while somebody waits, so that claims end and begin though no page is open."""

        async def look() -> None:
            while self._list and self._list.entries:
                await asyncio.sleep(LOOKED_EVERY_SECONDS)
                with suppress(HTTPError):
                    await self._look(user)

        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(look())

    def _read(self) -> WaitingList:
        """The list, as a hub before kept it; who waits for what is offered no more has no place any longer."""
        try:
            state = json.loads(self._file.read_text()) if self._file.exists() else None
            found = WaitingList(self._claim_seconds, state)
        except (ValueError, TypeError, AttributeError) as error:
            # After a power cut, or of another version: a place in a list is no reason to start no sessions.
            LOG.error("waiting list for GPUs: %s cannot be read, and begins anew: %s", self._file, error)
            found = WaitingList(self._claim_seconds, None)
        for entry in found.entries:
            if not self._offered(entry):
                found.leave(entry.user)
        return found

    def _offered(self, entry: Entry) -> list[str]:
        """Sizes that have what somebody waits for, by name."""
        wanted = (entry.model, entry.count)
        return [one.name for one in self._profiles if one.gpu and (one.gpu.model, one.gpu.count) == wanted]

    def _keep(self) -> None:
        if self._list:
            new = self._file.with_suffix(".new")
            new.write_text(json.dumps(self._list.state()))
            new.replace(self._file)

    def _tell(self, events: Iterable[Event]) -> None:
        for event in events:
            LOG.info("waiting list for GPUs: %s: %s", event.user, event.what)
            if event.what == "expired":
                self._missed.add(event.user)
            else:
                self._missed.discard(event.user)

    def _waits(self, waiting_list: WaitingList, entry: Entry, at: Moment) -> str:
        """What somebody who waits reads."""
        waiting, total = waiting_list.waiting(entry.model), at.total.get(entry.model, 0)
        number = [one.user for one in waiting].index(entry.user) + 1
        if not total:
            return f"No machine with {entry.model} is there now. You are number {number} in the waiting list."
        free = waiting_list.free(entry.model, at)
        taken = f"{free} of {total} {entry.model} are free" if free else f"All {total} {entry.model} are taken"
        begins = waiting_list.expected_at(entry.user, at)
        return f"{taken}. You are number {number} of {len(waiting)} in the waiting list.{expected(begins)}"


class WaitingHandler(BaseHandler):
    """The page that waits: a place, and when it is one's turn, the way to start; or to leave the list."""

    @authenticated
    async def get(self) -> None:
        """Shows it."""
        place = await self._pool().place(self.current_user)
        self.finish(await self.render_template("waiting.html", place=place, user=self.current_user))

    @authenticated
    def post(self) -> None:
        """Leaves the list."""
        self._pool().leave(self.current_user.name)
        self.redirect(f"{self.hub.base_url}waiting")

    def _pool(self) -> Pool:
        pool: Pool | None = self.settings.get("gpus")
        if pool is None:
            raise HTTPError(404)
        return pool


_STEPS = ((90, 30), (10, 5), (0, 1))
"""From how many minutes on an estimate is told in steps of how many: nobody knows it better."""


def expected(at: float | None) -> str:
    """When it may be one's turn, as people read it; nothing where nothing tells."""
    if at is None:
        return ""
    minutes = max(1, round((at - time.time()) / 60))
    step = next(step for least, step in _STEPS if minutes >= least)
    return f" Expected in about {duration(step * round(minutes / step) * 60)}."


def _gpus(entry: Entry) -> str:
    return f"{entry.count} {entry.model} {'are' if entry.count > 1 else 'is'} kept"


def _holder(spawner: Any, gpu: Gpu) -> Holder:
    started = spawner.orm_spawner.started
    return Holder(
        user=spawner.user.name,
        model=gpu.model,
        count=gpu.count,
        since=started.replace(tzinfo=dt.UTC).timestamp() if started else time.time(),
        ends_at=spawner.limits.ends_at(spawner.used_at()) if spawner.ready and spawner.limits else float("inf"),
        ready=spawner.ready,
    )


async def counted(gpus: Iterable[Gpu]) -> dict[str, int]:
    """How many GPUs of each model Kubernetes' nodes offer to sessions. Raises what `AWAY` has."""
    load_config()
    nodes = await shared_client("CoreV1Api").list_node(_request_timeout=_ASKED_SECONDS)
    plain = shared_client("CoreV1Api").api_client.sanitize_for_serialization(nodes)["items"]
    return count_of(plain, gpus)


def count_of(nodes: Iterable[Mapping[str, Any]], gpus: Iterable[Gpu]) -> dict[str, int]:
    """The same of nodes that are known.

    >>> well = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"nvidia.com/gpu": "2"}}
    >>> count_of([{"metadata": {"labels": {"cygnet.io/gpu": "t4"}}, "spec": {}, "status": well}], [Gpu(model="t4")])
    {'t4': 2}
    """
    resources = {gpu.model: gpu.resource for gpu in gpus}
    found = dict.fromkeys(resources, 0)
    for node in nodes:
        model = (node["metadata"].get("labels") or {}).get(Gpu.LABEL, "")
        if model in resources and _takes_sessions(node):
            found[model] += int(node["status"].get("allocatable", {}).get(resources[model], 0))
    return found


def _takes_sessions(node: Mapping[str, Any]) -> bool:
    spec, status = node["spec"], node["status"]
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    unwell = any(taint["key"] == TAINT for taint in spec.get("taints") or [])
    return ready and not unwell and not spec.get("unschedulable")

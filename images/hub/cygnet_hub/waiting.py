"""The waiting list for GPUs: whose turn it is, for how long, and when it may be one's turn. Without a hub or a clock.

Who asks first is first, for each model apart; nobody has two places. What is free belongs to whoever waits longest, as
a claim that ends when it is not taken in time: then the next one has it. Who comes while others wait, waits behind
them, also where enough is free for one and not for the others before.
"""

from __future__ import annotations

import heapq
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

REMEMBERED = 50
"""So many past sessions of a model tell how long the next ones may last."""


@dataclass(frozen=True)
class Holder:
    """Somebody whose session has GPUs, or is being started with them.

    Attributes:
        user: By name.
        model: Of the GPUs.
        count: How many.
        since: When the session began, in seconds since 1970.
        ends_at: When it ends if nobody uses it any more; infinite: never.
        ready: Whether it has begun, so that it needs no claim any more.
    """

    user: str
    model: str
    count: int
    since: float
    ends_at: float = math.inf
    ready: bool = True


@dataclass(frozen=True)
class Moment:
    """What is so at a time: `now` in seconds since 1970, how many GPUs there are by model, and who has some."""

    now: float
    total: Mapping[str, int]
    holders: Sequence[Holder]

    def without(self, user: str) -> Moment:
        """The same as if that user had none."""
        return replace(self, holders=[one for one in self.holders if one.user != user])


@dataclass(frozen=True)
class Entry:
    """A place in the list; `until` is when a claim ends, 0 while there is none."""

    user: str
    model: str
    count: int
    since: float
    until: float = 0


@dataclass(frozen=True)
class Event:
    """What became of a place: "waits", "claim", "expired"."""

    user: str
    what: str


class WaitingList:
    """Who waits for GPUs, in order.

    Args:
        claim_seconds: How long a claim holds.
        state: As `state` gave it, of a hub before.
    """

    def __init__(self, claim_seconds: float, state: Mapping[str, Any] | None = None) -> None:
        known = state or {}
        self.claim_seconds = claim_seconds
        self._entries = [Entry(**one) for one in known.get("entries", ())]
        self._past: dict[str, list[float]] = {model: [*past] for model, past in known.get("past", {}).items()}
        self._seen = {one["user"]: Holder(**one, ends_at=0) for one in known.get("seen", ())}

    def state(self) -> dict[str, Any]:
        """All of it, for JSON."""
        seen = [{key: value for key, value in asdict(one).items() if key != "ends_at"} for one in self._seen.values()]
        return {"entries": [asdict(one) for one in self._entries], "past": self._past, "seen": seen}

    @property
    def entries(self) -> list[Entry]:
        """All places, in order."""
        return [*self._entries]

    def entry(self, user: str) -> Entry | None:
        """A user's place."""
        return next((one for one in self._entries if one.user == user), None)

    def waiting(self, model: str) -> list[Entry]:
        """Who waits for a model without a claim, in order."""
        return [one for one in self._entries if one.model == model and not one.until]

    def ask(self, user: str, model: str, count: int, at: Moment) -> list[Event]:
        """Gives a user who has none a place, at the end; who asks for something else than before begins anew.

        Whoever has a claim then, as `entry` tells, may start at once.
        """
        at = at.without(user)
        before = self.look(at)
        mine = self.entry(user)
        joined = []
        if not mine or (mine.model, mine.count) != (model, count):
            self.leave(user)
            self._entries.append(Entry(user, model, count, at.now))
            joined = [Event(user, "waits")]
        return [*before, *joined, *self.look(at)]

    def leave(self, user: str) -> None:
        """Takes a user's place away, and the claim with it."""
        self._entries = [one for one in self._entries if one.user != user]

    def look(self, at: Moment) -> list[Event]:
        """Brings the list up to now: who has begun leaves it, old claims end, and what is free is claimed."""
        self._remember(at)
        holding = {one.user: one for one in at.holders}
        expired = [one for one in self._entries if one.until and one.until <= at.now and one.user not in holding]
        begun = {user for user, one in holding.items() if one.ready}
        gone = begun | {one.user for one in expired}
        self._entries = [one for one in self._entries if one.user not in gone]
        claimed = []
        for model in sorted({one.model for one in self._entries}):
            self._take_back(model, at)
            claimed += self._claim(model, at)
        return [*(Event(one.user, "expired") for one in expired), *(Event(user, "claim") for user in claimed)]

    def free(self, model: str, at: Moment) -> int:
        """How many of a model nobody has or claims."""
        return max(0, self._unclaimed(model, at))

    def expected_at(self, user: str, at: Moment) -> float | None:
        """When it may be a waiting user's turn, in seconds since 1970; None where nothing tells.

        As if each session lasted as long as the middle one of past sessions that were as long already, and no longer
        than it may; those who wait before have theirs first.
        """
        mine = self.entry(user)
        if mine is None or mine.until:
            return at.now if mine else None
        waiting = self.waiting(mine.model)
        return self._expected(mine.model, [one.count for one in waiting[: waiting.index(mine) + 1]], at)

    def expected_for_next(self, model: str, count: int, at: Moment) -> float | None:
        """The same for somebody who asks now."""
        return self._expected(model, [*(one.count for one in self.waiting(model)), count], at)

    def _expected(self, model: str, wanted: Sequence[int], at: Moment) -> float | None:
        """When so many are had by the last one of those who want them, one after the other."""
        ends = [at.now] * self.free(model, at)
        for one in at.holders:
            if one.model == model:
                ends += [self._end(one, at.now)] * one.count
        holding = {one.user for one in at.holders}
        lasts = self._typical(model)
        for entry in self._entries:
            if entry.model == model and entry.until and entry.user not in holding:
                ends += [at.now + lasts] * entry.count
        heapq.heapify(ends)
        begins = math.inf
        for count in wanted:
            if count > len(ends):
                return None
            begins = max(heapq.heappop(ends) for _ in range(count))
            for _ in range(count):
                heapq.heappush(ends, begins + lasts)
        return begins if math.isfinite(begins) else None

    def _end(self, holder: Holder, now: float) -> float:
        return max(now, min(holder.since + self._typical(holder.model, now - holder.since), holder.ends_at))

    def _typical(self, model: str, longer_than: float = 0) -> float:
        past = [one for one in self._past.get(model, ()) if one > longer_than]
        return statistics.median(past) if past else math.inf

    def _remember(self, at: Moment) -> None:
        """Notes how long the sessions were that are no more."""
        current = {one.user: one for one in at.holders if one.ready}
        for user, was in self._seen.items():
            if user not in current or current[user].since != was.since:
                past = self._past.setdefault(was.model, [])
                past.append(max(0.0, at.now - was.since))
                del past[:-REMEMBERED]
        self._seen = current

    def _unclaimed(self, model: str, at: Moment) -> int:
        used = {one.user: one.count for one in self._entries if one.model == model and one.until}
        used |= {one.user: one.count for one in at.holders if one.model == model}
        return at.total.get(model, 0) - sum(used.values())

    def _take_back(self, model: str, at: Moment) -> None:
        """Where machines went away the last claims become places again."""
        holding = {one.user for one in at.holders}
        for number, one in reversed([*enumerate(self._entries)]):
            if self._unclaimed(model, at) >= 0:
                return
            if one.model == model and one.until and one.user not in holding:
                self._entries[number] = replace(one, until=0)

    def _claim(self, model: str, at: Moment) -> list[str]:
        """Gives what is free to whoever waits longest."""
        claimed = []
        for one in self.waiting(model):
            if one.count > self._unclaimed(model, at):
                break
            self._entries[self._entries.index(one)] = replace(one, until=at.now + self.claim_seconds)
            claimed.append(one.user)
        return claimed

"""When a session ends that nobody uses, or that is as old as it may become; and what its user and the log read then.

A session tells the hub when it was used last: by a person, by a kernel that computes or by a command in a terminal.
What works is never idle. The session warns its user. The hub ends it a little later than announced, when all that was
done before that moment has reached it.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets import Callable, Float
from traitlets.config import Configurable

from cygnet_hub import counted

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner
else:
    Spawner = Configurable  # which JupyterHub's takes nothing to inherit from it that has no `stop` of its own

LIMITS = "CYGNET_LIMITS"
"""The variable by which a session knows its limits, in JSON."""
PAUSE_SECONDS = 300
"""A session that is too old ends when it was not used for so long."""
_BEGAN = time.monotonic()


@dataclass(frozen=True)
class Limits:
    """Until when a session may be there.

    Attributes:
        idle_seconds: It ends when nobody used it for so long; 0: never.
        warning_seconds: So long before that its user is told.
        age_seconds: How old it may become; 0: as old as it likes.
        old_at: When it is so old, in seconds since 1970; 0: never.
    """

    idle_seconds: float = 0
    warning_seconds: float = 0
    age_seconds: float = 0
    old_at: float = 0

    @property
    def told_every_seconds(self) -> int:
        """How often a session tells when it was used last."""
        return round(max(10, min((self.idle_seconds or 1200) / 20, 300)))

    @property
    def grace_seconds(self) -> int:
        """What was done in a session is known here after so long at most."""
        return 2 * self.told_every_seconds

    def ends_at(self, used_at: float) -> float:
        """When a session ends that nobody uses after that time; infinite: never.

        >>> Limits(idle_seconds=3600).ends_at(used_at=1000)
        4960
        """
        idle = used_at + self.idle_seconds if self.idle_seconds else math.inf
        old = max(self.old_at, used_at + PAUSE_SECONDS) if self.old_at else math.inf
        return min(idle, old) + self.grace_seconds

    def passed(self, used_at: float, now: float) -> str:
        """Why a session has to end that was used last at that time; nothing if it may go on.

        >>> Limits(idle_seconds=3600).passed(used_at=0, now=7200)
        'nobody used it for 1 hour'
        >>> Limits(age_seconds=90, old_at=1000).passed(used_at=1000, now=9999)
        'it was older than 1.5 minutes, and nothing ran in it'
        """
        unused = now - used_at - self.grace_seconds
        if self.old_at and now > self.old_at and unused > PAUSE_SECONDS:
            return f"it was older than {duration(self.age_seconds)}, and nothing ran in it"
        if self.idle_seconds and unused > self.idle_seconds:
            return f"nobody used it for {duration(self.idle_seconds)}"
        return ""


class Ending(Spawner):
    """Of a spawner: a session ends at its limits, and `ended_because` says why until the user starts anew."""

    idle_hours: Any = Float(0, config=True, help="A session that nobody used for so long ends; 0: never.")
    idle_warning_minutes: Any = Float(0, config=True, help="So long before that its user is told.")
    max_age_hours: Any = Callable(
        lambda _user: 0.0,
        config=True,
        help="How old a user's session may become, from the user; 0: as old as it likes.",
    )

    limits: Limits | None = None
    ended_because = ""
    _ends = False

    def get_env(self) -> dict[str, Any]:
        """A session that starts is told its limits, which are those of the size that was chosen."""
        age_seconds = self.max_age_hours(self.user) * 3600
        self.limits = Limits(
            idle_seconds=self.idle_hours * 3600,
            warning_seconds=self.idle_warning_minutes * 60,
            age_seconds=age_seconds,
            old_at=time.time() + age_seconds if age_seconds else 0,
        )
        variables = {LIMITS: json.dumps(asdict(self.limits))}
        variables["JUPYTERHUB_ACTIVITY_INTERVAL"] = str(self.limits.told_every_seconds)
        return {**super().get_env(), **variables}

    def start(self) -> Any:
        """Starts a session, of which nothing is known yet."""
        self.ended_because = ""
        return super().start()

    async def poll(self) -> int | None:
        """None while the session runs, otherwise its exit status."""
        status: int | None = await super().poll()
        if status is None and not self._ends and (why := self._limit_passed()):
            await self.end(why)
            return 0
        return status

    def _limit_passed(self) -> str:
        # A hub that was away for a while has not heard yet of what was done meanwhile.
        known_for = time.monotonic() - _BEGAN
        # One that was started by a former release knew of none.
        limits = self.limits or Limits(idle_seconds=self.idle_hours * 3600)
        if not self.ready or known_for < limits.grace_seconds:
            return ""
        return limits.passed(self.used_at(), time.time())

    def used_at(self) -> float:
        """When the session was used last, as far as is known, in seconds since 1970."""
        used: dt.datetime = self.orm_spawner.last_activity or self.orm_spawner.started
        return used.replace(tzinfo=dt.UTC).timestamp()

    async def end(self, why: str) -> None:
        """Ends the session at once, and says why."""
        self.has_ended(why)
        self._ends = True  # some ask for the state while they stop
        try:
            await self.stop(now=True)
        finally:
            self._ends = False

    def has_ended(self, why: str) -> None:
        """Notes for the user and the log why the session is no more."""
        self.log.warning("%s ends: %s", self._log_name, why)
        self.ended_because = why
        self.user.settings["audit"].session(self, "end session", "done", why)
        counted.ended(why)

    def get_state(self) -> dict[str, Any]:
        """What the hub remembers of the session, beyond its end and a restart of the hub."""
        limits = asdict(self.limits) if self.limits else None
        return {**super().get_state(), "ended_because": self.ended_because, "limits": limits}

    def load_state(self, state: dict[str, Any]) -> None:
        """Takes over what the hub remembered."""
        super().load_state(state)
        self.ended_because = state.get("ended_because", "")
        self.limits = Limits(**state["limits"]) if state.get("limits") else None


class SessionsProxy(ConfigurableHTTPProxy):
    """JupyterHub's proxy, whose word on when a session was used is not taken.

    A page that lies open asks its session all the time. The session itself knows better.
    """

    async def get_all_routes(self) -> dict[str, Any]:
        """The routes that the proxy knows."""
        routes: dict[str, Any] = await super().get_all_routes()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes


def duration(seconds: float) -> str:
    """A length of time in words.

    >>> [duration(seconds) for seconds in (90, 3600, 14400, 129600)]
    ['1.5 minutes', '1 hour', '4 hours', '1.5 days']
    """
    longer = (one for one in (("day", 86400), ("hour", 3600)) if seconds >= one[1])
    unit, length = next(longer, ("minute", 60))
    count = f"{seconds / length:.3g}"
    return f"{count} {unit}{'' if count == '1' else 's'}"

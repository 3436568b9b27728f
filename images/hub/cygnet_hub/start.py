"""How a session starts: what may be chosen for it, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from tornado.web import HTTPError

from cygnet_hub import causes, counted
from cygnet_hub.causes import Cause
from cygnet_hub.unwell import is_unplaced

LOOKED_EVERY_SECONDS = 0.3
# Machines repair what does not answer in half a minute, where they can.
WAITS_FOR_WELL_SECONDS = 60
EVENTS_EVERY_SECONDS = 10
EARLIER_SECONDS = 10
"""So long before JupyterHub gives a start up, without a word, its reason is told."""
REFUSED = "session refused: "
"""With what a session says why it does not start; the image's start-session writes it."""
SCRIPT = "script"
"""The choice that is no list: a script that is sourced before the server of a session starts."""
_SCRIPT = re.compile(r"(~/|/cvmfs/)[\w.+@=-]+(/[\w.+@=-]+)*", re.ASCII)
_SCRIPT_LENGTH = 200
REPAIR = "It is being repaired, and stands in the log of those who run this service. Start again in some minutes."


class Refusal(HTTPError):  # noqa: N818 - it is an answer, which is raised
    """An error of which the user reads `message`, on the hub's pages and from its API.

    Args:
        status: Of HTTP.
        message: What is wrong, and what to do.
        cause: As a start that fails by it is counted (`counted`); what is refused before it is no start.
        html: The same as `message` for pages, where it has links; none: that.
    """

    def __init__(self, status: int, message: str, cause: str = "", *, html: str = "") -> None:
        super().__init__(status, message)
        self.jupyterhub_message = message
        self.jupyterhub_html_message = html
        self.cause = cause


def only_known(
    choices_of: Callable[[Any], Mapping[str, Collection[str]]], *, scripts: bool = False
) -> Callable[[Any, Any], None]:
    """A hook that refuses what is no choice of the start page. Users may send anything: the API takes what they write.

    Args:
        choices_of: The values that a user may choose, for each name.
        scripts: Whether they may also name a script.
    """

    def check(spawner: Any, chosen: Mapping[str, Any]) -> None:
        choices = choices_of(spawner.user)
        try:
            for name, value in chosen.items():
                if scripts and name == SCRIPT:
                    check_script(value, by_link=is_link(spawner.handler))
                else:
                    check_choice(name, value, choices)
        except HTTPError:
            # The hub has kept it already, for the next start that chooses nothing.
            spawner.orm_spawner.user_options = None
            spawner.user_options = {}
            raise

    return check


def check_choice(name: str, value: Any, choices: Mapping[str, Collection[str]]) -> None:
    """Raises HTTPError 400 for what cannot be chosen."""
    known = tuple(choices.get(name, ()))
    if value not in known:
        values = f"choose one of: {', '.join(known)}" if known else f"choose: {', '.join(choices) or 'nothing'}"
        raise Refusal(400, f"there is no {name} {str(value)[:60]!r} here; {values}")


def check_script(value: Any, *, by_link: bool) -> None:
    """Raises HTTPError 400 for what cannot be a script of the user's own, or of a software repository.

    A link may not name one: whoever made it could have brought it into the home, too.
    """
    if by_link and value:
        raise Refusal(400, "A link may not name a script; choose it on this page.")
    good = isinstance(value, str) and len(value) <= _SCRIPT_LENGTH and _SCRIPT.fullmatch(value)
    if value != "" and (not good or {".", ".."} & {*str(value).split("/")}):
        what = f"there is no script {str(value)[:60]!r} here"
        raise Refusal(400, f"{what}; name one of your home, such as ~/setup.sh, or below /cvmfs")


def is_link(handler: Any) -> bool:
    """Whether a session is asked for by following a link, instead of by the start page's form or the API."""
    return handler is not None and handler.request.method == "GET"


async def wait_for_server(spawner: Any, _pod: Any) -> None:
    """Waits until the session's server listens, which is when its container is ready.

    Raises:
        HTTPError: The session ended instead, and left a message; it would be started again and again. Or what it needs
            did not answer for too long on the machines. Or something else keeps it from starting, for too long.
    """
    placed = time.monotonic()
    patience = Patience(placed + spawner.start_timeout - EARLIER_SECONDS)
    while not (pod := _seen(spawner)) or not spawner.is_pod_running(pod):
        if words := last_words(pod):
            raise Refusal(500, words, counted.REFUSED)
        if cause := patience.over(causes.of_pod(pod, patience.events_of(spawner)), time.monotonic()):
            raise Refusal(503, cause.words, cause.kind)
        if not is_unplaced(pod):
            placed = time.monotonic()
        elif time.monotonic() - placed > WAITS_FOR_WELL_SECONDS:
            placed = time.monotonic()
            if words := await spawner.unwell():
                raise Refusal(503, f"No machine can take your session now: {words}. {REPAIR}", counted.UNWELL)
        await asyncio.sleep(LOOKED_EVERY_SECONDS)


class Patience:
    """Until when a start may take; and for how long the same has kept it from going on."""

    def __init__(self, until: float) -> None:
        self._until, self._kind, self._since = until, "", 0.0
        self._asked, self._events = time.monotonic(), list[dict[str, Any]]()

    def events_of(self, spawner: Any) -> list[dict[str, Any]]:
        """Those of a start that takes long; KubeSpawner sorts all there are in the namespace whenever it is asked."""
        if time.monotonic() - self._asked > EVENTS_EVERY_SECONDS:
            self._asked, self._events = time.monotonic(), spawner.events
        return self._events

    def over(self, cause: Cause | None, now: float) -> Cause | None:
        """What a start is given up for; None while it may go on.

        Args:
            cause: What keeps it from going on, as it looks now.
            now: In seconds, as `until`.
        """
        if cause and cause.kind != self._kind:
            self._since = now
        self._kind = cause.kind if cause else ""
        if cause and now - self._since >= cause.patience_seconds:
            return cause
        return (cause or causes.UNKNOWN) if now >= self._until else None


def _seen(spawner: Any) -> dict[str, Any]:
    """The pod, as Kubernetes last told it; empty as long as it did not."""
    found: dict[str, Any] = spawner.pod_reflector.pods.get(f"{spawner.namespace}/{spawner.pod_name}", {})
    return found


def last_words(pod: Mapping[str, Any]) -> str:
    r"""Why a container of the pod refused to start, by the end of its log; nothing if none of them did.

    >>> ended = {"terminated": {"exitCode": 1, "message": "well so far\nsession refused: no software\n"}}
    >>> last_words({"status": {"containerStatuses": [{"state": {"waiting": {}}, "lastState": ended}]}})
    'no software'
    """
    for container in pod.get("status", {}).get("containerStatuses") or []:
        for state in (container.get("state"), container.get("lastState")):
            message = str(((state or {}).get("terminated") or {}).get("message") or "")
            if REFUSED in message:
                return message.rpartition(REFUSED)[2].partition("\n")[0]
    return ""

"""What the hub counts besides JupyterHub's own figures: why starts failed, and why sessions ended.

Prometheus gets both with all other figures of the hub. Each cause is there from the start, with 0: a counter that
appears with its first event has not grown for Prometheus, and that event would be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from prometheus_client import Counter
from tornado.web import HTTPError

UNWELL, NO_ROOM, REFUSED, TOO_SLOW, OTHER = "machines unwell", "no room", "session refused", "too slow", "other"
NO_IMAGE, NO_VOLUME, CRASHED, QUOTA = "no image", "no volume", "crashed", "quota"
FAILURES = Counter("cygnet_start_failures", "Starts of sessions that failed, by cause", ["cause"])

ENDS: Final[Mapping[str, str]] = {
    "nobody used it": "unused",
    "it was older than": "too old",
    "the machine on which it ran": "machine lost",
    "its notebook server used more memory": "memory",
    "it wrote more than": "disk",
    "its notebook server was shut down": "shut down",
}
"""How the reason begins that users read (`ending`, `spawner`), and what it is counted as."""
ENDED = Counter("cygnet_session_ends", "Sessions that ended though their users did not stop them, by cause", ["cause"])

for _cause in (UNWELL, NO_ROOM, REFUSED, TOO_SLOW, OTHER, NO_IMAGE, NO_VOLUME, CRASHED, QUOTA):
    FAILURES.labels(_cause)
for _cause in (*ENDS.values(), OTHER):
    ENDED.labels(_cause)


def failed(error: BaseException | None, *, unplaced: bool) -> None:
    """Counts a start that failed, unless it was not for the service to make: nobody may choose what is not there.

    Args:
        error: With what; None: it was given up.
        unplaced: Whether Kubernetes had found no machine for it.
    """
    if isinstance(error, HTTPError) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return
    FAILURES.labels(cause_of(error, unplaced=unplaced)).inc()


def cause_of(error: BaseException | None, *, unplaced: bool) -> str:
    """Why a start failed: what refuses one (`start.Refusal`) says so itself.

    >>> cause_of(TimeoutError(), unplaced=True), cause_of(TimeoutError(), unplaced=False)
    ('no room', 'too slow')
    """
    if cause := getattr(error, "cause", ""):
        return str(cause)
    if unplaced:
        return NO_ROOM
    return TOO_SLOW if error is None or isinstance(error, TimeoutError) else OTHER


def ended(why: str) -> None:
    """Counts a session that ended, with the reason that its user reads."""
    ENDED.labels(next((cause for words, cause in ENDS.items() if why.startswith(words)), OTHER)).inc()

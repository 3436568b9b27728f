"""A notebook server's extension: when the session was used last, and what its user reads before it ends.

The hub ends sessions that nobody uses. Jupyter notes what kernels and terminals say, and every request of a page, also
those that JupyterLab makes by itself as long as it lies open. Here only those count that change something, or that a
page makes because its user is there; and work that says nothing: a fit that runs through the night.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil
from jupyter_server.base.handlers import APIHandler
from tornado.ioloop import PeriodicCallback

from cygnet_session.notices import Notice

EVERY_SECONDS = 60
LIMITS = "CYGNET_LIMITS"
PAUSE = 5
"""Minutes without use after which the hub ends a session that is too old."""
LOOKS = {"GET", "HEAD", "OPTIONS"}
DESK = "/lab/api/workspaces/"
"""Where JupyterLab notes every ten seconds which panels are open, whether somebody looks at them or not."""
WAITING = {"bash", "dash", "fish", "sh", "tcsh", "zsh", "screen", "SCREEN", "tmux: server", "ssh-agent", "gpg-agent"}
"""Programs that only wait for others, by the names that Linux has for them."""

IDLE = "Nobody has used this session since {since}. It ends at {until}. What is not saved is lost then; files stay."
OLD = "From {until} on this session is as old as it may become, and ends when it is not used for {pause} minutes. \
Save what you need."


@dataclass(frozen=True)
class Process:
    """One of the session's, as far as it matters here."""

    id: int
    parent: int
    name: str


@dataclass(frozen=True)
class Limits:
    """Until when the hub lets the session be there, in seconds; 0: for ever."""

    idle_seconds: float = 0
    warning_seconds: float = 0
    old_at: float = 0

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Limits:
        """What the hub said at the start; without a hub nothing ends."""
        told = json.loads(environment.get(LIMITS, "{}"))
        return cls(**{name: value for name, value in told.items() if name in cls.__dataclass_fields__})

    def notices(self, used_at: float, now: float) -> list[Notice]:
        """What to say of the session's end.

        Args:
            used_at: When it was used last, in seconds since 1970.
            now: Likewise.
        """
        found, ends = [], used_at + self.idle_seconds
        if self.idle_seconds and now >= ends - self.warning_seconds:
            found.append(Notice("idle", IDLE, since=used_at, until=ends, keep=True))
        if self.old_at and now >= self.old_at - self.warning_seconds:
            found.append(Notice("age", OLD.replace("{pause}", str(PAUSE)), until=self.old_at))
        return found


def _load_jupyter_server_extension(server: Any) -> None:
    _count_only_what_changes()

    def note() -> None:
        if works(server):
            server.web_app.settings["last_activity_times"]["work"] = datetime.now(UTC)

    told_every = int(os.environ.get("JUPYTERHUB_ACTIVITY_INTERVAL", EVERY_SECONDS))
    PeriodicCallback(note, min(EVERY_SECONDS, told_every) * 1000).start()


def _count_only_what_changes() -> None:
    """Jupyter's own requests that only look, or only note what is open, do not count as activity from now on."""
    counted = APIHandler.update_api_activity

    def update(handler: APIHandler) -> None:
        if handler.request.method not in LOOKS and DESK not in str(handler.request.path):
            counted(handler)

    APIHandler.update_api_activity = update


def works(server: Any) -> bool:
    """Whether something computes in the session: a kernel, or a command of a terminal."""
    terminals = server.web_app.settings.get("terminal_manager")
    shells = {one.ptyproc.pid for one in terminals.terminals.values()} if terminals else set()
    return any_busy(server.kernel_manager.list_kernels()) or any_command(shells, os.getpid(), processes())


def any_busy(kernels: list[dict[str, Any]]) -> bool:
    """Whether one of the kernels, as the server's API describes them, is computing.

    >>> any_busy([{"execution_state": "idle"}, {"execution_state": "busy"}])
    True
    """
    return any(kernel["execution_state"] == "busy" for kernel in kernels)


def processes() -> list[Process]:
    """All that run in the session's container."""
    found = (one.info for one in psutil.process_iter(["pid", "ppid", "name", "status"]))
    alive = (one for one in found if one["status"] != psutil.STATUS_ZOMBIE)
    return [Process(one["pid"], one["ppid"], one["name"]) for one in alive]


def any_command(shells: set[int], server: int, running: Iterable[Process]) -> bool:
    """Whether a command runs that somebody gave in a terminal, also one that outlived its terminal.

    Args:
        shells: The processes of terminals that are open.
        server: The notebook server's.
        running: All processes. The first one is 1, to whom belongs who has lost its parent.

    >>> tree = [Process(1, 0, "tini"), Process(7, 1, "jupyterhub"), Process(9, 7, "bash"), Process(12, 7, "python3")]
    >>> any_command({9}, 7, tree), any_command({9}, 7, [*tree, Process(13, 9, "make")])
    (False, True)
    >>> tmux = [Process(20, 1, "tmux: server"), Process(21, 20, "bash")]
    >>> any_command(set(), 7, [*tree, *tmux]), any_command(set(), 7, [*tree, *tmux, Process(22, 21, "fit")])
    (False, True)
    """
    of = {one.id: one for one in running}

    def is_of_a_terminal(one: Process) -> bool:
        while one.id not in shells:
            if one.parent == 1:
                return one.id != server
            if one.parent not in of:
                return False
            one = of[one.parent]
        return True

    return any(one.id != 1 and one.name not in WAITING and is_of_a_terminal(one) for one in of.values())

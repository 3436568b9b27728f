"""A notebook server's extension: it tells the page what its user should know, at /cygnet/notices."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.ioloop import PeriodicCallback
from tornado.web import authenticated

from cygnet_session.activity import EVERY_SECONDS, Limits
from cygnet_session.memory import Memory
from cygnet_session.notices import Notice, Watch


class Told:
    """All that a session's user is told."""

    def __init__(self, server: Any) -> None:
        """Of the session of this notebook server."""
        self._server = server
        self._watch, self._limits = Watch(os.environ), Limits.of(os.environ)
        self.memory = Memory(os.environ)

    async def notices(self) -> list[Notice]:
        """What is to be told now; it takes no longer than the deadline of a look."""
        used_at = self._server.web_app.last_activity().timestamp()
        of_memory = self.memory.notices()
        return [*self._limits.notices(used_at, time.time()), *of_memory, *await self._watch.notices()]


class NoticesHandler(APIHandler):
    """GET gives a list of notices; POST likewise, and says that the page's user is there."""

    def initialize(self, told: Told) -> None:
        """Takes what knows them."""
        self.told = told

    @authenticated
    async def get(self) -> None:
        """Answers within the deadline of a look, whatever hangs."""
        self.finish(json.dumps([asdict(notice) for notice in await self.told.notices()]))

    @authenticated
    async def post(self) -> None:
        """Likewise."""
        self.update_api_activity()
        await self.get()


def _load_jupyter_server_extension(server: Any) -> None:
    told = Told(server)
    place = url_path_join(server.web_app.settings["base_url"], "cygnet", "notices")
    server.web_app.add_handlers(".*$", [(place, NoticesHandler, {"told": told})])
    # So that the time that is told is right where nobody sees the page.
    PeriodicCallback(told.memory.look, EVERY_SECONDS * 1000).start()

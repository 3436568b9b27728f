"""A notebook server's extension: it tells the page what its user should know, at /cygnet/notices."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado.web import authenticated

from cygnet_session.notices import Watch


class NoticesHandler(APIHandler):
    """GET gives a list of notices; each has an id, a text and a time or null."""

    # A page that lies open is no sign of its user.
    _track_activity = False

    def initialize(self, watch: Watch) -> None:
        """Takes what looks after the session."""
        self.watch = watch

    @authenticated
    async def get(self) -> None:
        """Answers within the deadline of a look, whatever hangs."""
        self.finish(json.dumps([asdict(notice) for notice in await self.watch.notices()]))


def _load_jupyter_server_extension(server: Any) -> None:
    place = url_path_join(server.web_app.settings["base_url"], "cygnet", "notices")
    server.web_app.add_handlers(".*$", [(place, NoticesHandler, {"watch": Watch(os.environ)})])

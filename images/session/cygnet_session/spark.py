"""A notebook server's extension: Spark's pages of drivers in this session, at /cygnet/spark/PORT/, and of past ones.

Such a page has no sign-in, so nobody reaches it from outside of the session. Here it has that of the session: it is for
its owner. It may be looked at, and nothing be changed by it.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.web import HTTPError, authenticated

from cygnet_session.spark_history import History, of_this_session

PLACE = "cygnet/spark"
PORTS = r"40(?:4\d|5[0-5])"
"""Of the first driver 4040, of fifteen more the next ones: of executors' drivers there are no more, either."""
PAST = "past"
"""Not "history": Spark's scripts look for that word in addresses."""
SECONDS = 60


class SparksPage(JupyterHandler):
    """What a driver, or the history server, answers on its port of this session."""

    def initialize(self, history: History | None) -> None:
        """Takes what knows of past drivers."""
        self.history = history

    @authenticated
    async def get(self, which: str) -> None:
        """Passes it on.

        Raises:
            HTTPError: 404, there is no driver at that port, any more or yet; 503, past ones cannot be shown.
        """
        here = url_path_join(self.base_url, PLACE, which)
        port = await self._past() if which == PAST else which
        asked = self.request.uri.removeprefix(here)
        request = HTTPRequest(
            f"http://127.0.0.1:{port}{asked}",
            # By this Spark puts our place before all its links.
            headers={"X-Forwarded-Context": here},
            follow_redirects=False,
            request_timeout=SECONDS,
        )
        try:
            answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError) as error:
            raise HTTPError(404, "A driver of Spark has its page as long as it runs: %s", error) from error
        self.set_status(answer.code)
        if kind := answer.headers.get("Content-Type"):
            self.set_header("Content-Type", kind)
        if to := answer.headers.get("Location"):
            self.set_header("Location", led(to, here))
        self.finish(answer.body)

    async def _past(self) -> int:
        if self.history is None:
            raise HTTPError(404, "Drivers of this cluster leave no history: spark.clusters.NAME.history_days")
        try:
            return await self.history.port()
        except OSError as error:
            raise HTTPError(503, str(error)) from error


def led(to: str, here: str) -> str:
    """Where a driver leads to, as its page has it here.

    >>> led("http://127.0.0.1:4040/jobs/?id=1", "/user/ada/cygnet/spark/4040")
    '/user/ada/cygnet/spark/4040/jobs/?id=1'
    >>> led("/user/ada/cygnet/spark/4040/jobs/", "/user/ada/cygnet/spark/4040")
    '/user/ada/cygnet/spark/4040/jobs/'
    """
    parts = urlsplit(to)
    path = parts.path if parts.path.startswith(f"{here}/") else f"{here}{parts.path}"
    return path + (f"?{parts.query}" if parts.query else "")


def _load_jupyter_server_extension(server: Any) -> None:
    if os.environ.get("CYGNET_CLUSTER"):
        if history := of_this_session():
            history.watch()
        place = url_path_join(server.web_app.settings["base_url"], PLACE, f"({PORTS}|{PAST})", "/.*")
        server.web_app.add_handlers(".*$", [(place, SparksPage, {"history": history})])

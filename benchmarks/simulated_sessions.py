"""What the hub hears of simulated sessions: `python -m benchmarks.simulated_sessions URL TOKEN CA_FILE`.

There is one process for all of them. It answers at every pod's address as a notebook server does that is asked whether
it is there, and it tells the hub of each session what the session's own server would: that it has come up, and at its
interval when it was used last, with the session's own key. It takes all of that from the pods, as Kubernetes has them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import random
import ssl
import sys
from typing import Any

import aiohttp
from aiohttp import web

from components.policies import SESSION_PORT, SESSIONS_NAMESPACE

_LARGEST_POD = 2**20
_AGAIN_SECONDS = 5


class Sessions:
    """The sessions that there are."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._running: dict[str, asyncio.Task[None]] = {}

    async def watch(self, url: str, token: str, authority: ssl.SSLContext) -> None:
        """Follows the pods of the namespace; returns when Kubernetes ends the watch."""
        pods = f"{url}/api/v1/namespaces/{SESSIONS_NAMESPACE}/pods"
        headers = {"Authorization": f"Bearer {token}"}
        async with self._http.get(pods, params={"watch": "1"}, headers=headers, ssl=authority) as told:
            told.raise_for_status()
            async for line in told.content:
                self._heard(json.loads(line))

    def _heard(self, event: dict[str, Any]) -> None:
        pod = event["object"]
        name = pod["metadata"].get("uid", "")
        if event["type"] == "DELETED":
            if task := self._running.pop(name, None):
                task.cancel()
        elif pod.get("status", {}).get("phase") == "Running" and name not in self._running:
            variables = {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}
            self._running[name] = asyncio.create_task(self._lives(variables))

    async def _lives(self, environment: dict[str, str]) -> None:
        """As jupyterhub-singleuser does: it asks for the hub's version, and then tells of its use from time to time."""
        headers = {"Authorization": f"token {environment['JUPYTERHUB_API_TOKEN']}"}
        await self._ask("GET", environment["JUPYTERHUB_API_URL"], headers=headers)
        while True:
            used = dt.datetime.now(dt.UTC).isoformat()
            told = {"servers": {"": {"last_activity": used}}, "last_activity": used}
            if await self._ask("POST", environment["JUPYTERHUB_ACTIVITY_URL"], headers=headers, json=told):
                # With the spread that the original has.
                seconds = float(environment["JUPYTERHUB_ACTIVITY_INTERVAL"]) * random.uniform(0.9, 1.1)  # noqa: S311
            else:
                seconds = _AGAIN_SECONDS
            await asyncio.sleep(seconds)

    async def _ask(self, method: str, url: str, **options: Any) -> bool:
        try:
            async with self._http.request(method, url, **options) as answer:
                return answer.ok
        except (aiohttp.ClientError, TimeoutError):
            return False


async def _is_there(_request: web.Request) -> web.Response:
    return web.json_response({"version": "simulated"})


async def main(url: str, token: str, ca_file: str) -> None:
    """Serves all sessions until it is ended."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", _is_there)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    # In a network of its own, of which every pod's address is this computer's.
    await web.TCPSite(runner, "0.0.0.0", SESSION_PORT, backlog=4096).start()  # noqa: S104
    wait = aiohttp.ClientTimeout(total=None, sock_connect=30)
    async with aiohttp.ClientSession(timeout=wait, read_bufsize=_LARGEST_POD) as http:
        sessions = Sessions(http)
        while True:
            await sessions.watch(url, token, ssl.create_default_context(cafile=ca_file))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A notebook server's extension: the access token of the session's user, in a file that clients of storage read.

Where the hub gives out tokens, BEARER_TOKEN_FILE says which file: XRootD, gfal2 and others look for it there. It is
the user's alone, has a token that did not end yet, and is gone with the session. The hub renews tokens; what could
renew them is not here.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

FILE = "BEARER_TOKEN_FILE"
BEFORE_SECONDS = 60
AGAIN_SECONDS = 15


def _load_jupyter_server_extension(server: Any) -> None:
    if file := os.environ.get(FILE):
        keeping = keep(Path(file), os.environ["JUPYTERHUB_API_URL"], os.environ["JUPYTERHUB_API_TOKEN"], server.log)
        # Held, so that it is not collected while it waits.
        server.cygnet_access_token = asyncio.get_event_loop().create_task(keeping)


async def keep(file: Path, hub_api: str, token: str, log: Any) -> None:
    """Keeps the file up to date, for ever.

    Args:
        file: Of the access token.
        hub_api: Address of the hub's API.
        token: The session's own, for the hub.
        log: Where it says what went wrong.
    """
    while True:
        try:
            wait = await renew(file, hub_api, token)
        except HTTPClientError as error:
            log.warning("No new access token: %s", error)
            if error.code == 403:  # the user has to sign in again
                file.unlink(missing_ok=True)
            wait = AGAIN_SECONDS
        except OSError as error:
            log.warning("No new access token: %s", error)
            wait = AGAIN_SECONDS
        await asyncio.sleep(wait)


async def renew(file: Path, hub_api: str, token: str) -> float:
    """Writes the token that the hub gives; returns in how many seconds to ask again."""
    headers = {"Authorization": f"token {token}"}
    answer = await AsyncHTTPClient().fetch(f"{hub_api}/access-token", headers=headers)
    given = json.loads(answer.body)
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(given["access_token"])
    new.replace(file)
    return max(AGAIN_SECONDS, given["expires_at"] - time.time() - BEFORE_SECONDS)

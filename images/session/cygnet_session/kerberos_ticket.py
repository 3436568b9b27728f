"""A notebook server's extension: the Kerberos ticket of the session's user, in a file that clients of storage read.

Where the hub gives out tickets, KRB5CCNAME says which file, and KRB5_CONFIG where the realm is. It is the user's alone,
has a ticket that did not end yet, and is gone with the session. Nobody has to call kinit.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from pathlib import Path
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

FILE, CONFIG = "KRB5CCNAME", "KRB5_CONFIG"
AGAIN_SECONDS = 15


def _load_jupyter_server_extension(server: Any) -> None:
    if (file := os.environ.get(FILE)) and (config := os.environ.get(CONFIG)):
        hub = (os.environ["JUPYTERHUB_API_URL"], os.environ["JUPYTERHUB_API_TOKEN"])
        keeping = keep(Path(file.removeprefix("FILE:")), Path(config), hub, server.log)
        # Held, so that it is not collected while it waits.
        server.cygnet_kerberos_ticket = asyncio.get_event_loop().create_task(keeping)


async def keep(file: Path, config: Path, hub: tuple[str, str], log: Any) -> None:
    """Keeps the ticket up to date, for ever.

    Args:
        file: Of the ticket.
        config: Of the realm.
        hub: Address of the hub's API, and the session's own token for it.
        log: Where it says what went wrong.
    """
    while True:
        try:
            wait = await renew(file, config, *hub)
        except (HTTPClientError, OSError) as error:
            log.warning("No new Kerberos ticket: %s", error)
            if getattr(error, "code", None) == 403:  # the user has to sign in again
                file.unlink(missing_ok=True)
            wait = AGAIN_SECONDS
        await asyncio.sleep(wait)


async def renew(file: Path, config: Path, hub_api: str, token: str) -> float:
    """Writes the ticket that the hub gives; returns in how many seconds to ask again."""
    headers = {"Authorization": f"token {token}"}
    answer = await AsyncHTTPClient().fetch(f"{hub_api}/kerberos-ticket", headers=headers)
    given = json.loads(answer.body)
    _write(config, given["config"].encode())
    _write(file, base64.b64decode(given["ticket"]))
    return max(AGAIN_SECONDS, given["renewed_at"] - time.time() + 1)


def _write(file: Path, content: bytes) -> None:
    """In one step, and for the user alone."""
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(content)
    new.replace(file)

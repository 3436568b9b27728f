"""Who asks for the page of the monitor: operators, and nobody else. The hub's service that the gateway asks."""

from __future__ import annotations

import asyncio
import sys

from cygnet_hub.door import application, serve

NAME = "monitor"
PREFIX = "/monitor/"
CALLBACK = f"{PREFIX}oauth_callback"
READER = "prometheus"
"""The service that reads the hub's figures, and has no program here."""

if __name__ == "__main__":
    asyncio.run(serve(application(PREFIX), int(sys.argv[1])))

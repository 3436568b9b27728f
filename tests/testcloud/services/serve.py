"""Serves a WSGI application on the loopback: `python -m tests.testcloud.services.serve PORT MODULE:NAME`."""

import importlib
import sys
from typing import Any

import waitress

from tests.testcloud import names


def serve(application: Any, port: int) -> None:
    """Serves until the process ends. Threads wait for other services, so there are more of them than cores."""
    waitress.serve(application, host=names.LOOPBACK, port=port, threads=16, channel_timeout=300, connection_limit=1000)


if __name__ == "__main__":
    port, place = sys.argv[1:]
    sys.argv = [place]  # the services read their own
    module, name = place.split(":")
    serve(getattr(importlib.import_module(module), name), int(port))

"""The hub's services: who knows, for pages that are not the hub's, who asks for them; and who reads its figures."""

from __future__ import annotations

import sys
from typing import Any

from cygnet_hub import files, monitor
from cygnet_hub.settings import FOLDER, Secrets, Settings, SettingsError


def services(settings: Settings, secrets: Secrets) -> list[dict[str, Any]]:
    """The services that know who wants to see a page which is not the hub's, and who reads the hub's figures.

    Raises:
        SettingsError: There is a page of the monitor, and no token for its Prometheus.
    """
    doors = {files: settings.files_port, monitor: settings.monitor_port}
    made = [door_service(page.NAME, page.CALLBACK, port) for page, port in doors.items() if port]
    if settings.monitor_port:
        if secrets.monitor_token is None:
            raise SettingsError(f"{FOLDER}/secrets/monitor-token: is missing, and monitor_port is set; `cygnet up`")
        token = secrets.monitor_token.get_secret_value()
        made.append({"name": monitor.READER, "api_token": token, "display": False})
    return made


def door_service(name: str, callback: str, port: int) -> dict[str, Any]:
    """A service that knows who wants to see a page; users do not get to see that they consent to it."""
    return {
        "name": name,
        "command": [sys.executable, "-m", f"cygnet_hub.{name}", str(port)],
        "oauth_redirect_uri": callback,
        "oauth_no_confirm": True,
        "display": False,
    }

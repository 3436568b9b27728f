"""A notebook server's extension: a session whose kernel computes is not idle, however long it says nothing.

The hub stops sessions that were idle for too long. Jupyter counts messages of kernels and requests of browsers; a fit
that runs through the night sends none. This notes as activity that some kernel is busy.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tornado.ioloop import PeriodicCallback

EVERY_SECONDS = 60


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    others = ("access_token", "kerberos_ticket", "page")
    return [{"module": "cygnet_session"}, *({"module": f"cygnet_session.{name}"} for name in others)]


def _load_jupyter_server_extension(server: Any) -> None:
    def note() -> None:
        if any_busy(server.kernel_manager.list_kernels()):
            server.web_app.settings["last_activity_times"]["busy_kernel"] = datetime.now(UTC)

    PeriodicCallback(note, EVERY_SECONDS * 1000).start()


def any_busy(kernels: list[dict[str, Any]]) -> bool:
    """Whether one of the kernels, as the server's API describes them, is computing.

    >>> any_busy([{"execution_state": "idle"}, {"execution_state": "busy"}])
    True
    """
    return any(kernel["execution_state"] == "busy" for kernel in kernels)

"""What cygnet adds to a notebook server, as extensions of it."""

from __future__ import annotations


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    names = ("access_token", "activity", "kerberos_ticket", "page", "spark")
    return [{"module": f"cygnet_session.{name}"} for name in names]

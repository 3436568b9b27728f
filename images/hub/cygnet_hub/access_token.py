"""Where a session gets its user's access token at the provider: by the token that the hub gave the session itself.

The refresh token stays in the hub. Whoever signed out, or was barred, gets no further access token.
"""

from __future__ import annotations

import time
from typing import Any

from jupyterhub.apihandlers.base import APIHandler
from tornado.web import HTTPError

LEFT_SECONDS = 120
"""A token that ends sooner is renewed before it is given out."""


def asked_by_session(handler: APIHandler) -> Any:
    """The user whose session asks for what was given at sign-in.

    Raises:
        HTTPError: 403, it is nobody's. Services know users, too; what opens the user's sessions is the user's, or a
            session's own.
    """
    user = handler.current_user
    if user is None or getattr(user, "kind", "") == "service" or "access:servers" not in handler.parsed_scopes:
        raise HTTPError(403)
    return user


class AccessToken(APIHandler):
    """Answers GET with {"access_token": "...", "expires_at": seconds since 1970}."""

    async def get(self) -> None:
        """Answers a session."""
        user = asked_by_session(self)
        state = await user.get_auth_state() or {}
        if state.get("expires_at", 0) - time.time() < LEFT_SECONDS:
            if await self.refresh_auth(user, force=True) is None:
                raise HTTPError(403, "the user has to sign in again")
            state = await user.get_auth_state() or {}
        if state.get("expires_at", 0) <= time.time():
            raise HTTPError(503, "the provider does not answer")
        self.set_header("Cache-Control", "no-store")
        self.write({"access_token": state["access_token"], "expires_at": state["expires_at"]})

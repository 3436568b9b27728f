"""The door of a page that is not the hub's: a service that knows, by the hub's OAuth, who wants to see that page.

The gateway hands it the cookies of each request (`who`), and sends browsers that are not signed in to `sign-in`.
Whoever signs out at the hub is signed out here, as soon as an answer of the hub that is remembered
(`REMEMBERED_SECONDS`) has aged. Who may pass at all is the hub's to say: by the scope `access:services!service=NAME`.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado.web import Application, HTTPError, RequestHandler, authenticated, url

REMEMBERED_SECONDS = 5
USER_HEADER = "X-Cygnet-User"
"""By this the gateway knows the user; it removes a client's own."""


class Who(HubOAuthenticated, RequestHandler):
    """Tells in headers who sent the cookies; 401 says that they are nobody's."""

    def get(self) -> None:
        """Answers the gateway."""
        user = self.current_user
        if user is None:
            raise HTTPError(401)
        for header, value in self.told(user).items():
            self.set_header(header, value)

    def told(self, user: dict[str, Any]) -> dict[str, str]:
        """The headers of a user, as the hub describes them."""
        return {USER_HEADER: user["name"]}


class SignIn(HubOAuthenticated, RequestHandler):
    """Sends a browser to the hub's sign-in, and from there to the page it came for."""

    def initialize(self, prefix: str) -> None:
        """Takes the path below which all pages are to which it may send."""
        self.prefix = prefix

    @authenticated
    def get(self) -> None:
        """Answers a browser that has come back."""
        # The gateway puts the address there as it was asked for, with a query of its own.
        self.redirect(inside(self.request.query.partition("next=")[2], self.prefix))


def inside(page: str, prefix: str) -> str:
    """A page that a browser may be sent to; the first one in place of any other address.

    >>> inside("/files/eos/opendata/", "/files/"), inside("//elsewhere.example/files/", "/files/")
    ('/files/eos/opendata/', '/files/')
    """
    return page if page.startswith(prefix) and page.isprintable() and "\\" not in page else prefix


def application(prefix: str, who: type[Who] = Who) -> Application:
    """The service of the pages below `prefix`, with its settings from the environment that the hub gives it."""
    callback = f"{prefix}oauth_callback"
    HubOAuth.instance(
        base_url=prefix,
        oauth_redirect_uri=callback,
        cookie_path=prefix,
        cache_max_age=REMEMBERED_SECONDS,
    )
    routes = [
        url(f"{prefix}who", who),
        url(f"{prefix}sign-in", SignIn, {"prefix": prefix}),
        url(callback, HubOAuthCallbackHandler),
    ]
    # Browsers that it forgets with its end are sent through the hub once more, where they are signed in still.
    return Application(routes, cookie_secret=secrets.token_bytes(32), log_function=lambda _handler: None)


async def serve(made: Application, port: int) -> None:
    """Serves until the hub ends it."""
    made.listen(port)
    await asyncio.Event().wait()

"""Who asks for a page of files: the hub's service that the gateway asks before it lets anybody in.

The gateway hands it the cookies of each request (`who`), and sends browsers that are not signed in to `sign-in`. It is
a client of the hub's OAuth: whoever signs out at the hub is signed out here, as soon as an answer of the hub that is
remembered (`REMEMBERED_SECONDS`) has aged.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import sys
from collections.abc import Iterable

from jupyterhub.services.auth import HubOAuth, HubOAuthCallbackHandler, HubOAuthenticated
from tornado.web import Application, HTTPError, RequestHandler, authenticated

NAME = "files"
PREFIX = "/files/"
CALLBACK = f"{PREFIX}oauth_callback"
REMEMBERED_SECONDS = 5
# By these the gateway knows the user, their groups and where their home is; it removes those of a client.
USER_HEADER, GROUPS_HEADER, HOME_HEADER = "X-Cygnet-User", "X-Cygnet-Groups", "X-Cygnet-Home"


class Who(HubOAuthenticated, RequestHandler):  # type: ignore[misc]
    """Tells in headers who sent the cookies; 401 says that they are nobody's."""

    def get(self) -> None:
        """Answers the gateway."""
        user = self.current_user
        if user is None:
            raise HTTPError(401)
        self.set_header(USER_HEADER, user["name"])
        self.set_header(GROUPS_HEADER, groups(user["name"], user.get("groups", ())))
        self.set_header(HOME_HEADER, home(user["name"]))


class SignIn(HubOAuthenticated, RequestHandler):  # type: ignore[misc]
    """Sends a browser to the hub's sign-in, and from there to the page it came for."""

    @authenticated
    def get(self) -> None:
        """Answers a browser that has come back."""
        # The gateway puts the address there as it was asked for, with a query of its own.
        self.redirect(inside(self.request.query.partition("next=")[2]))


def home(name: str) -> str:
    """Where a user's files are.

    >>> home("ada")
    '/files/eos/user/a/ada/'
    """
    return f"{PREFIX}eos/user/{name[0]}/{name}/"


def groups(name: str, known: Iterable[str]) -> str:
    """A user's groups as the page of files has them: one for the letter that homes lie below, and those of the user.

    A provider's groups may have names that a header or a list cannot hold, so they stand for themselves as digests;
    components/copyparty.py makes the same.

    >>> groups("ada", ["Domain Users"])
    'home-a,g-73801bce916ad44e'
    """
    digests = (f"g-{hashlib.sha256(group.encode()).hexdigest()[:16]}" for group in sorted(known))
    return ",".join([f"home-{name[0]}", *digests])


def inside(page: str) -> str:
    """A page of files that a browser may be sent to; the first one in place of any other address.

    >>> inside("/files/eos/opendata/"), inside("//elsewhere.example/files/")
    ('/files/eos/opendata/', '/files/')
    """
    return page if page.startswith(PREFIX) and page.isprintable() and "\\" not in page else PREFIX


def application() -> Application:
    """The service, with its settings from the environment that the hub gives it."""
    HubOAuth.instance(
        base_url=PREFIX,
        oauth_redirect_uri=CALLBACK,
        cookie_path=PREFIX,
        cache_max_age=REMEMBERED_SECONDS,
    )
    routes = [(f"{PREFIX}who", Who), (f"{PREFIX}sign-in", SignIn), (CALLBACK, HubOAuthCallbackHandler)]
    # Browsers that it forgets with its end are sent through the hub once more, where they are signed in still.
    return Application(routes, cookie_secret=secrets.token_bytes(32), log_function=lambda _handler: None)


async def main(port: int) -> None:
    """Serves until the hub ends it."""
    application().listen(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))

"""Links that open something in the session of whoever follows them: /hub/user-redirect/PATH?...

What a link says of the session (`release=bleeding`) starts one of that kind. A session that runs with another choice is
not silently used, and not silently ended: the user reads which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl

from jupyterhub.handlers.base import BaseHandler
from jupyterhub.utils import url_path_join
from tornado.httputil import HTTPServerRequest, url_concat

from cygnet_hub.start import Refusal, check_choice

Titles = Mapping[str, Mapping[str, str]]
"""What may be chosen for a session: for each name the values with their titles, the default first."""


def refuse_broken() -> None:
    """Has pages refuse a `next` with a line break in it, which no address has.

    JupyterHub 5.4 takes it for one of its own, and ends with "500: Internal Server Error" when it goes into a header.
    """
    of_jupyterhub = BaseHandler.get_next_url

    def get_next_url(handler: BaseHandler, *arguments: Any, **options: Any) -> str:
        address = str(of_jupyterhub(handler, *arguments, **options))
        if not address.isprintable():
            raise Refusal(400, "This link is broken: there is a line break in where it leads. Begin at the home page.")
        return address

    BaseHandler.get_next_url = get_next_url


def to_session(choices_of: Callable[[Any], Titles]) -> Callable[[str, HTTPServerRequest, Any, str], str | None]:
    """JupyterHub's `user_redirect_hook`: where a link leads to; None where it says nothing of the session.

    Args:
        choices_of: What a user may choose.
    """

    def redirect(path: str, request: HTTPServerRequest, user: Any, base_url: str) -> str | None:
        choices = choices_of(user)
        query = parse_qsl(request.query, keep_blank_values=True)
        wanted = {name: value for name, value in query if name in choices}
        if not wanted:
            return None
        for name, value in wanted.items():
            check_choice(name, value, choices)
        rest = [(name, value) for name, value in query if name not in choices]
        target = str(url_concat(url_path_join(user.url, path), rest))
        if not user.spawner.active:
            start = url_path_join(base_url, "hub", "spawn", user.escaped_name)
            return str(url_concat(start, wanted | {"next": target}))
        for name, value in wanted.items():
            running = user.spawner.user_options.get(name, next(iter(choices[name])))
            if running != value:
                raise another(choices[name][value], choices[name].get(running, running), base_url, target)
        return target

    return redirect


def another(wanted: str, running: str, base_url: str, target: str) -> Refusal:
    """The page for a link that wants another session than the one that runs."""
    html = (
        f"<p>This link is for <strong>{escape(wanted)}</strong>, and your session runs with "
        f"<strong>{escape(running)}</strong>.</p>"
        f'<p>Save your work, <a href="{escape(url_path_join(base_url, "hub", "home"))}">stop your session</a>, and '
        f'follow the link again; or <a href="{escape(target)}">open it in the session that runs</a>.</p>'
    )
    return Refusal(409, f"This link is for {wanted}, and your session runs with {running}.", html=html)

"""A notebook server's extension: links bring a git repository into the user's home (nbgitpuller), where they may.

Whoever makes somebody click on a link brings files into that person's home. In a folder with a dot before its name, or
outside of the home, they could be settings or programs, and run.
"""

from __future__ import annotations

import os
import re
from typing import Any

from tornado.web import HTTPError

HOSTS_VARIABLE = "CYGNET_LINK_HOSTS"

_REPOSITORY = re.compile(r"https://(?P<host>[A-Za-z0-9.-]+)(:[0-9]+)?/[\w./~+-]+")
_NAME = r"\w[\w.+-]*"
_PLACE = re.compile(rf"{_NAME}(/{_NAME})*/?")


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "cygnet_session.links"}]


def _load_jupyter_server_extension(server: Any) -> None:
    """Has a notebook server answer at git-pull, with what `refusal` lets through."""
    import nbgitpuller  # noqa: PLC0415 - only a notebook server has it
    from nbgitpuller._compat import get_base_handler  # noqa: PLC0415

    get_base_handler(server)  # it is told so before its handlers are imported
    from nbgitpuller.handlers import SyncHandler, UIHandler  # noqa: PLC0415

    class Checked:
        """Before a handler of nbgitpuller."""

        async def prepare(self, *arguments: Any, **options: Any) -> None:
            await super().prepare(*arguments, **options)
            given = {name: self.get_arguments(name) for name in ("repo", "targetpath", "targetPath")}
            if words := refusal(given, os.environ.get(HOSTS_VARIABLE, "").split()):
                raise HTTPError(403, words)

    class Page(Checked, UIHandler):
        """What a link opens."""

    class Pull(Checked, SyncHandler):
        """What that page asks for."""

    page = server.web_app.settings["base_url"] + "git-pull"
    # The first one that fits a request answers it.
    server.web_app.add_handlers(".*", [(f"{page}/api", Pull), (page, Page)])
    nbgitpuller._load_jupyter_server_extension(server)


def refusal(given: dict[str, list[str]], hosts: list[str]) -> str:
    """Why a link is not followed, for its reader; nothing if it is.

    Args:
        given: All values of its arguments `repo`, `targetpath` and `targetPath`.
        hosts: From which repositories may come; none: from any.

    >>> refusal({"repo": ["https://git.example.org/course"]}, [])
    ''
    >>> refusal({"repo": ["https://git.example.org/course"]}, ["github.com"])
    'This service takes repositories from github.com only, not from git.example.org.'
    >>> refusal({"repo": ["https://git.example.org/.ssh"]}, [])
    "A link may not bring files to '.ssh': name a folder of the home, without dots before names."
    """
    repositories = given["repo"]
    places = [place for name in ("targetpath", "targetPath") for place in given.get(name, ()) if place]
    for repository in repositories:
        parts = _REPOSITORY.fullmatch(repository)
        if parts is None:
            return f"A link may bring a repository by HTTPS, as https://HOST/PATH, and not {repository!r}."
        if hosts and parts["host"].lower() not in hosts:
            return f"This service takes repositories from {', '.join(hosts)} only, not from {parts['host']}."
        places.append(repository.rstrip("/").split("/")[-1])
    for place in places:
        if not _PLACE.fullmatch(place):
            return f"A link may not bring files to {place!r}: name a folder of the home, without dots before names."
    return ""

"""Who did what here, from where, and what came of it: JSON lines beside the hub's database, without secrets.

The events are Jupyter's: time in UTC, schema, and the fields of `SCHEMA`. A file holds a day, and is kept for ninety.
"""

from __future__ import annotations

import logging.handlers
import re
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from jupyter_events import EventLogger
from jupyterhub.auth import Authenticator
from jupyterhub.handlers.login import LogoutHandler
from jupyterhub.log import log_request
from jupyterhub.utils import url_path_join
from tornado.web import HTTPError

from cygnet_hub import files, monitor
from cygnet_hub.address import Proxies
from cygnet_hub.gpus import WaitingHandler
from cygnet_hub.user_ids import NAME

FILE = "hub.jsonl"
KEPT_DAYS = 90
SCHEMA_ID = "https://cygnet.invalid/events/audit"
_TEXT = {"type": "string"}
SCHEMA = {
    "$id": SCHEMA_ID,
    "version": "1",
    "title": "Something that somebody did, or was refused",
    "personal-data": True,
    "type": "object",
    "additionalProperties": False,
    "required": ["who", "from", "what", "result"],
    "properties": {
        "who": {**_TEXT, "description": "Name of the user or service; empty: unknown"},
        "from": {**_TEXT, "description": "Address from which it was asked; empty: the service itself"},
        "what": {**_TEXT, "description": "In two words, such as: start session"},
        "result": {"enum": ["done", "refused", "failed"]},
        "why": {**_TEXT, "description": "Of what was not done"},
        "of": {**_TEXT, "description": "Whose session, where that is another user's"},
        "choices": {"type": "object", "description": "What was chosen for a session"},
    },
}

# What a request does: method, path below the hub's own, and that in words; (?P<of>...) is whose session it is about.
_REQUESTS = (
    ("POST", r"login", "sign in"),
    ("GET", r"oauth_callback", "sign in"),
    ("GET", r"logout", "sign out"),
    ("DELETE", r"api/users/(?P<of>[^/]+)/servers?(/[^/]*)?", "stop session"),
    ("POST", r"api/users/(?P<of>[^/]+)/tokens", "make token"),
)
_AUTHORIZE = "api/oauth2/authorize"
_OPENED = {f"service-{files.NAME}": "open files", f"service-{monitor.NAME}": "open monitor"}
"""By the client for which somebody who is signed in comes; all others are sessions."""
_SIGN_OUT = "/logout"
_WAITING = "/waiting"
_REASONS = {400: "not possible", 401: "not signed in", 404: "there is none", 429: "has to wait after wrong passwords"}


class Audit:
    """Writes events. Tornado hands it each request that has ended; the spawner tells it of sessions."""

    def __init__(self, folder: Path, proxies: Proxies) -> None:
        """Will write into `folder`; `proxies` say where a request comes from."""
        self._folder, self._proxies = folder, proxies

    @cached_property
    def _events(self) -> EventLogger:
        self._folder.mkdir(exist_ok=True)
        days = logging.handlers.TimedRotatingFileHandler(
            self._folder / FILE, when="midnight", utc=True, backupCount=KEPT_DAYS, encoding="utf-8"
        )
        made = EventLogger(handlers=[days])
        made.register_event_schema(SCHEMA)
        return made

    def __deepcopy__(self, _: Any) -> Self:
        """What traitlets makes of a setting; a log is one."""
        return self

    def request(self, handler: Any) -> None:
        """Notes a request that has ended, where it is of interest; JupyterHub's own log has all of them."""
        log_request(handler)
        path = handler.request.path.removeprefix(url_path_join(handler.hub.base_url, "")) if _is_hubs(handler) else ""
        status = handler.get_status()
        # On the way back with what opens it; who is not signed in is on the way to the form.
        if path == _AUTHORIZE and status == 302 and _user(handler):
            client = handler.get_query_argument("client_id", "")
            self._note(handler, _OPENED.get(client, "open session"))
            return
        for method, pattern, what in _REQUESTS:
            found = re.fullmatch(pattern, path)
            if handler.request.method == method and found:
                self._note(handler, what, of=found.groupdict().get("of") or "")

    def session(self, spawner: Any, what: str, result: str, why: str = "") -> None:
        """Notes what became of a session: asked for by who is signed in, or by the service itself."""
        handler = spawner.handler
        event = {
            "who": _user(handler) if handler else "",
            "from": self._proxies.client_address(handler.request) if handler else "",
            "what": what,
            "result": result,
            "of": spawner.user.name,
        }
        self._write(event, why=why, choices={key: str(value) for key, value in spawner.user_options.items()})

    def _note(self, handler: Any, what: str, of: str = "") -> None:
        status, who = handler.get_status(), _user(handler) or getattr(handler, "signed_out", "")
        refused = status >= 400
        if what == "sign in" and not who:
            who = _typed(handler)
        why = getattr(handler, "refused_because", "") or _REASONS.get(status, "not allowed")
        result = "done" if not refused else "refused" if status < 500 else "failed"
        event = {"who": who, "from": self._proxies.client_address(handler.request), "what": what, "result": result}
        self._write({**event, "of": of}, why=why if refused else "")

    def _write(self, event: dict[str, Any], **more: Any) -> None:
        if event.get("of") in ("", event["who"]):
            event.pop("of", None)
        self._events.emit(schema_id=SCHEMA_ID, data={**event, **{key: value for key, value in more.items() if value}})


class _Remembering(LogoutHandler):
    """Of the page for signing out."""

    async def default_handle_logout(self) -> None:
        """Signs out."""
        self.signed_out = _user(self)
        await super().default_handle_logout()


class Audited(Authenticator):
    """Of an authenticator: why it refuses, and who signs out, is remembered for the log."""

    def get_handlers(self, app: Any) -> list[tuple[str, Any]]:
        """The authenticator's, with a page for signing out that remembers who did, and the one that waits for GPUs."""
        given = dict(super().get_handlers(app))
        sign_out = given.pop(_SIGN_OUT, LogoutHandler)
        signs_out = (_SIGN_OUT, type("SignOut", (_Remembering, sign_out), {}))
        return [*given.items(), signs_out, (_WAITING, WaitingHandler)]

    async def get_authenticated_user(self, handler: Any, data: Any) -> Any:
        """As JupyterHub has it."""
        try:
            model = await super().get_authenticated_user(handler, data)
        except HTTPError as error:
            handler.refused_because = error.log_message or ""
            raise
        if model is None:
            handler.refused_because = "wrong name or password"
        return model


def _is_hubs(handler: Any) -> bool:
    return hasattr(handler, "hub") and hasattr(handler, "current_user")


def _user(handler: Any) -> str:
    try:
        user = handler.current_user
    except (HTTPError, RuntimeError):  # it was asked for too early: the request was no good
        return ""
    return str(getattr(user, "name", "") or "")


def _typed(handler: Any) -> str:
    """The name that somebody typed who was refused. What is not of a name's form may be a password in the wrong field.

    >>> from types import SimpleNamespace
    >>> [_typed(SimpleNamespace(get_body_argument=lambda *_, typed=typed: typed)) for typed in ("ada", "Pa55word!")]
    ['ada', '']
    """
    typed = handler.get_body_argument("username", "")
    return typed if NAME.fullmatch(typed) else ""

"""A user without a browser: the hub's own forms and addresses, over plain HTTP."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from typing import Any

import requests

from tests.live.kernel import Kernel
from tests.live.stack import LiveStack
from tests.live.terminal import Terminal
from tests.live.waiting import until


class Visitor:
    """One person of a stack, seen from the hub: signs in, starts a session, runs code in it, stops it."""

    def __init__(self, stack: LiveStack, name: str) -> None:
        self.name = name
        self.url = stack.url
        self._password = stack.accounts.get(name, "")
        self._ca_file = str(stack.ca_file)
        self._token = ""
        self.http = http_session(stack.ca_file)

    def sign_in(
        self, password: str | None = None, *, next_page: str = "/hub/home", follow: bool = True
    ) -> requests.Response:
        """Fills in the hub's form, or its provider's; returns the page that follows, which may be the form again.

        Args:
            password: The right one by default.
            next_page: Where the form's address says that one wants to go.
            follow: Whether redirects are.
        """
        self.http.cookies.clear()
        form = self.http.get(f"{self.url}/hub/login", timeout=30)
        fields = {"username": self.name, "password": self._password if password is None else password}
        if "/hub/oauth_login" in form.text:
            form = self.http.get(f"{self.url}/hub/oauth_login", params={"next": next_page}, timeout=60)
            if not (action := _action(form.text)):
                return form  # the provider, or the hub, says why there is none
            return self.http.post(action, data=fields, timeout=60, allow_redirects=follow)
        # Without `next` the hub would start a session at once.
        return self.http.post(
            f"{self.url}/hub/login",
            params={"next": next_page},
            data=fields | _xsrf_field(form.text),
            timeout=60,
            allow_redirects=follow,
        )

    @property
    def token(self) -> str:
        """A token of the user's own, as the page /hub/token gives it; it ends after an hour."""
        if not self._token:
            self.sign_in().raise_for_status()
            answer = self.http.post(
                f"{self.url}/hub/api/users/{self.name}/tokens",
                json={"note": "tests", "expires_in": 3600},
                headers={"X-XSRFToken": self._xsrf()},
                timeout=30,
            )
            answer.raise_for_status()
            self._token = str(answer.json()["token"])
        return self._token

    def api(self, method: str, path: str, **options: Any) -> requests.Response:
        """Asks the hub's API, or a session's: `path` begins with /hub/api or /user/NAME/api."""
        headers = {"Authorization": f"token {self.token}"}
        return self.http.request(method, f"{self.url}{path}", headers=headers, timeout=30, **options)

    def start(self, *, seconds: float = 120, **choices: str) -> None:
        """Starts the session and waits until it answers.

        Args:
            seconds: How long that may take.
            choices: As the start page names them, such as `release`; none: what was chosen the last time.
        """
        answer = self.ask_for_session(**choices)
        assert answer.status_code in (201, 202), f"{self.name}: {answer.status_code} {answer.text}"
        until(self.is_ready, f"the session of {self.name} is ready", seconds=seconds)

    def ask_for_session(self, **choices: str) -> requests.Response:
        """Asks the hub to start the session; its answer comes when that has begun."""
        return self.api("POST", f"/hub/api/users/{self.name}/server", **({"json": choices} if choices else {}))

    def run(self, code: str, *, seconds: float = 60, name: str = "python3") -> str:
        """What a piece of Python prints in a kernel of its own."""
        kernel = self.kernel(name=name)
        try:
            return kernel.run(code, seconds=seconds)
        finally:
            kernel.close()

    def is_ready(self) -> bool:
        """Whether the hub says so."""
        return bool(self.server() and self.server()["ready"])

    def server(self) -> dict[str, Any]:
        """The session, as the hub's API describes it; empty when there is none."""
        answer = self.api("GET", f"/hub/api/users/{self.name}")
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()["servers"].get("", {})
        return found

    def stop(self, *, seconds: float = 60) -> None:
        """Stops the session, if there is one, and waits for its end."""

        def stopped() -> bool:
            answer = self.api("DELETE", f"/hub/api/users/{self.name}/server")
            # 400: not while it starts or stops; ask again
            return answer.status_code in (204, 404) and not self.server()

        until(stopped, f"the session of {self.name} has stopped", seconds=seconds)

    def kernel(self, identity: str | None = None, *, name: str = "python3") -> Kernel:
        """A new kernel in the session, of that name, or the one of that id."""
        kernels = f"/user/{self.name}/api/kernels"
        if identity is None:
            answer = self.api("POST", kernels, json={"name": name})
            answer.raise_for_status()
            identity = str(answer.json()["id"])
        return Kernel(f"{self.url}{kernels}/{identity}", self.token, self._ca_file)

    def terminal(self) -> Terminal:
        """A new terminal in the session."""
        answer = self.api("POST", f"/user/{self.name}/api/terminals")
        answer.raise_for_status()
        place = f"{self.url}/user/{self.name}/terminals/websocket/{answer.json()['name']}"
        return Terminal(place, self.token, self._ca_file)

    def kernels(self) -> list[str]:
        """The ids of the session's kernels."""
        answer = self.api("GET", f"/user/{self.name}/api/kernels")
        answer.raise_for_status()
        return [str(kernel["id"]) for kernel in answer.json()]

    def _xsrf(self) -> str:
        return next(
            str(cookie.value) for cookie in self.http.cookies if cookie.name == "_xsrf" and cookie.path == "/hub/"
        )

    def hears(self, words: str) -> bool:
        """Whether the hub tells that of the session's start, before that has ended."""
        with self.api("GET", self._progress, stream=True) as told:
            return any(words in line for line in told.iter_lines(decode_unicode=True))

    def progress(self) -> str:
        """All that the hub tells of the session's start, until that has ended."""
        return self.api("GET", self._progress).text

    @property
    def _progress(self) -> str:
        return f"/hub/api/users/{self.name}/server/progress"


@contextmanager
def session(stack: LiveStack, name: str) -> Iterator[Visitor]:
    """A visitor whose session runs, and is stopped at the end."""
    visitor = Visitor(stack, name)
    try:
        visitor.start()
        yield visitor
    finally:
        visitor.stop()


def http_session(ca_file: Path) -> requests.Session:
    """Requests that trust the stack's authority and nobody else, and go through no proxy."""
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca_file)
    return session


def _action(page: str) -> str:
    """Where the form of a page is sent.

    >>> _action('<form id="f" action="/a?b=1&amp;c=2" method="post">')
    '/a?b=1&c=2'
    """
    found = re.search(r'<form[^>]* action="([^"]+)"', page)
    return unescape(found.group(1)) if found else ""


def _xsrf_field(page: str) -> dict[str, str]:
    """The form's hidden field against forged requests.

    >>> _xsrf_field('<input type="hidden" name="_xsrf" value="abc" />')
    {'_xsrf': 'abc'}
    """
    found = re.search(r'name="_xsrf" value="([^"]+)"', page)
    return {"_xsrf": found.group(1)} if found else {}

"""The notebook server of a session, from its image: what it takes for use, and what it tells of the session's end."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import requests

from tests.live.kernel import Kernel
from tests.live.ports import free_ports
from tests.live.terminal import Terminal
from tests.live.waiting import until
from tests.machines import image_root

TOKEN = "of this test alone"  # noqa: S105 - it is
IDLE_SECONDS, WARNING_SECONDS = 3600, 3597
TOLD_EVERY_SECONDS = 1
SHOWN = 140
"""How many characters of a notice JupyterLab shows."""


class NotebookServer:
    """One that runs, as its page sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.http.headers["Authorization"] = f"token {TOKEN}"

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """What it answers."""
        answer = self.http.request(method, f"{self.url}/{path}", timeout=30, **options)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def used_at(self) -> float:
        """What it tells the hub: when it was used last, in seconds since 1970."""
        return datetime.fromisoformat(self.ask("GET", "api/status")["last_activity"]).timestamp()

    def is_used(self) -> bool:
        """Whether it is, though nobody but this test asks for anything, and that only looks."""
        before = self.used_at()
        time.sleep(2.5 * TOLD_EVERY_SECONDS)
        return self.used_at() > before

    def told(self, method: str = "GET") -> dict[str, dict[str, Any]]:
        """The notices of its page, by their ids."""
        told = {one["id"]: one for one in self.ask(method, "cygnet/notices")}
        for one in told.values():
            assert len(one["text"].replace("{since}", "12:00 PM").replace("{until}", "12:00 PM")) <= SHOWN
        return told

    def terminal(self) -> str:
        """A new one's name."""
        return str(self.ask("POST", "api/terminals")["name"])

    def enter(self, terminal: str, command: str, *, waits: bool = True) -> None:
        """In a page that closes after that; the terminal stays."""
        with Terminal(f"{self.url}/terminals/websocket/{terminal}", TOKEN, "") as page:
            page.enter(command, waits=waits)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookServer]:
    folder = tmp_path_factory.mktemp("session")
    (port,) = free_ports(1)
    limits = {"idle_seconds": IDLE_SECONDS, "warning_seconds": WARNING_SECONDS, "old_at": 1}
    arguments = ["--ip=127.0.0.1", f"--port={port}", f"--IdentityProvider.token={TOKEN}", "--no-browser"]
    with image_root.running(
        "session",
        ["tini", "--", "/usr/local/bin/jupyter-server", *arguments],
        data=folder / "home",
        inside="/home/user",
        log=folder / "log",
        environment={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": "/home/user",
            "SHELL": "/bin/bash",
            "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",  # noqa: S108 - the image's own
            "CYGNET_LIMITS": json.dumps(limits),
            "JUPYTERHUB_ACTIVITY_INTERVAL": str(TOLD_EVERY_SECONDS),
        },
    ) as process:
        made = NotebookServer(f"http://127.0.0.1:{port}")

        def answers() -> bool:
            assert process.poll() is None, (folder / "log").read_text()[-2000:]
            return bool(made.used_at())

        until(answers, "the server answers", seconds=60, through=requests.RequestException)
        yield made


def test_a_page_that_lies_open_is_no_use(server: NotebookServer) -> None:
    before = server.used_at()
    for path in ("api/contents", "api/kernels", "api/sessions", "api/terminals", "api/kernelspecs", "cygnet/notices"):
        server.ask("GET", path)
    server.ask("PUT", "lab/api/workspaces/default", json={"data": {}, "metadata": {"id": "default"}})
    assert server.used_at() == before


def test_a_page_whose_user_is_there_is_use(server: NotebookServer) -> None:
    before = server.used_at()
    server.told("POST")
    assert server.used_at() > before


def test_the_end_is_announced_until_its_user_is_there(server: NotebookServer) -> None:
    server.told("POST")
    notice = until(lambda: server.told().get("idle"), "its end is announced", seconds=20)
    assert notice["keep"] is True
    assert notice["until"] - notice["since"] == IDLE_SECONDS
    assert notice["since"] == pytest.approx(server.used_at(), abs=0.01)
    assert "idle" not in server.told("POST"), "one click keeps it"
    assert "idle" not in server.told()


def test_a_session_that_is_too_old_says_so_whatever_its_user_does(server: NotebookServer) -> None:
    notice = server.told("POST")["age"]
    assert (notice["until"], notice["keep"]) == (1, False)
    assert "when it is not used for 5 minutes" in notice["text"]


def test_a_kernel_that_computes_is_use_and_one_that_waits_is_none(server: NotebookServer) -> None:
    made = server.ask("POST", "api/kernels", json={"name": "python3"})
    place = f"api/kernels/{made['id']}"
    kernel = Kernel(f"{server.url}/{place}", TOKEN, "")
    kernel.run("import time")
    time.sleep(2 * TOLD_EVERY_SECONDS)
    assert not server.is_used()
    kernel.begin("time.sleep(600)")
    kernel.close()
    time.sleep(TOLD_EVERY_SECONDS)
    assert server.is_used()
    server.ask("DELETE", place)
    time.sleep(2 * TOLD_EVERY_SECONDS)
    assert not server.is_used()


@pytest.mark.parametrize(
    ("command", "outlives_its_terminal"),
    [("sleep 600", False), ("sleep 600 & disown", True)],
)
def test_a_command_is_use_and_a_terminal_that_waits_is_none(
    server: NotebookServer, command: str, outlives_its_terminal: bool
) -> None:
    first = server.terminal()
    server.enter(first, command, waits=False)
    time.sleep(2 * TOLD_EVERY_SECONDS)
    assert server.is_used()

    server.ask("DELETE", f"api/terminals/{first}")
    if outlives_its_terminal:
        time.sleep(2 * TOLD_EVERY_SECONDS)
        assert server.is_used()
    else:
        until(lambda: not server.is_used(), "it ended with its terminal", seconds=20)
    second = server.terminal()
    server.enter(second, "pkill -x sleep")
    time.sleep(2 * TOLD_EVERY_SECONDS)
    assert not server.is_used()
    server.ask("DELETE", f"api/terminals/{second}")

"""The front door: wrong passwords, administrators, and the way through a tunnel."""

import secrets
import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until


@pytest.fixture
def tunnel(stack: LiveStack) -> Iterator[str]:
    """The service's address at this end of an SSH tunnel through one of its machines."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    service = stack.url.removeprefix("https://")
    target = service if ":" in service else f"{service}:443"
    forward = ["-N", "-L", f"127.0.0.1:{port}:{target}", "-o", "ExitOnForwardFailure=yes"]
    with subprocess.Popen(stack.ssh("control-plane-1", *forward)) as ssh:
        try:
            until(lambda: _listens(port), "the tunnel is open", seconds=15, every=0.1)
            yield f"https://localhost:{port}"
        finally:
            ssh.terminate()


def test_guesses_have_to_wait_and_the_right_password_works_then(visitor: Callable[[str], Visitor]) -> None:
    forgetful = visitor("forgetful")
    _sign_in_at_last(forgetful)
    _guess(forgetful)
    _sign_in_at_last(forgetful)


def test_guesses_at_nobodys_password_get_the_same_answers(stack: LiveStack) -> None:
    _guess(Visitor(stack, f"nobody-{secrets.token_hex(4)}"))


def test_a_wrong_password_is_told_on_the_page(person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in("not the password")
    expect(physicist.page.get_by_text("Invalid username or password")).to_be_visible()
    physicist.picture("wrong-password")
    physicist.sign_in()
    physicist.start()


def test_through_an_ssh_tunnel(person: Callable[..., Person], tunnel: str) -> None:
    physicist = person("physicist", url=tunnel)
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("Python 3")
    expect(physicist.run_cell("print(6 * 7)")).to_have_text("42")
    assert physicist.asked == {"localhost"}


def test_only_an_administrator_sees_everyones_sessions(
    person: Callable[..., Person], visitor: Callable[[str], Visitor]
) -> None:
    visitor("physicist").start()
    operator = person("operator")
    operator.sign_in()
    operator.page.goto(f"{operator.url}/hub/admin")
    row = operator.page.locator("tr").filter(has_text="physicist").first
    expect(row.get_by_role("button", name="Stop Server")).to_be_visible()
    operator.picture("administration")

    physicist = person("physicist")
    physicist.sign_in()
    physicist.page.goto(f"{physicist.url}/hub/admin")
    expect(physicist.page.get_by_text("403")).to_be_visible()


def test_idle_sessions_are_looked_for(visitor: Callable[[str], Visitor]) -> None:
    operator = visitor("operator")
    services = operator.api("GET", "/hub/api/services").json()
    assert "idle-culler" in services


def _guess(visitor: Visitor) -> None:
    """Three tries are free, and each one after them has to wait longer."""
    pages = [visitor.sign_in(f"wrong {number}") for number in range(6)]
    assert [page.status_code for page in pages[:3]] == [403] * 3
    assert "Invalid username or password" in pages[0].text
    refused = [page for page in pages[3:] if page.status_code == 429]
    assert refused
    assert "Try again in" in refused[0].text


def _sign_in_at_last(visitor: Visitor) -> None:
    until(lambda: visitor.sign_in().ok, f"{visitor.name} may try again", seconds=70)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0

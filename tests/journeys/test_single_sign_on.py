"""Sign-in at the stack's own Keycloak: a day of somebody whom it knows, and a day on which it is away."""

import json
import secrets
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

pytestmark = pytest.mark.usefixtures("keycloak_only")

SCALE = ("--namespace", "keycloak", "scale", "deployment/keycloak")
LOOK = """\
import os, stat
file = os.environ["BEARER_TOKEN_FILE"]
print(oct(stat.S_IMODE(os.stat(file).st_mode)), os.stat(file).st_uid == os.getuid(), open(file).read())
"""


def test_a_day_with_single_sign_on(person: Callable[..., Person], stack: LiveStack) -> None:
    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    physicist.open_notebook("Python 3")
    expect(physicist.run_cell("print(6 * 7)")).to_have_text("42")
    physicist.page.goto(f"{stack.url}/hub/logout")
    expect(physicist.page.get_by_role("button", name="Sign in with")).to_be_visible()
    physicist.picture("signed-out")
    physicist.page.get_by_role("button", name="Sign in with").click()
    expect(physicist.page.locator("input[name=password]")).to_be_visible()  # the provider forgot the browser, too
    physicist.picture("sign-in-again")


def test_a_session_has_its_users_token_in_a_file_of_its_own(visitor: Callable[[str], Visitor]) -> None:
    physicist = visitor("physicist")
    physicist.start()
    mode, own, token = physicist.run(LOOK).split()
    assert (mode, own) == ("0o600", "True")
    assert token.count(".") == 2
    assert "refresh" not in physicist.run("import os; print(sorted(os.environ))").lower()


def test_a_size_for_a_group_is_for_its_members(visitor: Callable[[str], Visitor]) -> None:
    neighbour = visitor("neighbour")
    refused = neighbour.ask_for_session(profile="large")
    assert refused.status_code == 400
    assert "there is no profile 'large' here; choose one of: standard" in refused.json()["message"]
    physicist = visitor("physicist")
    physicist.start(profile="large")


def test_sessions_go_on_while_keycloak_is_away(
    stack: LiveStack, visitor: Callable[[str], Visitor], person: Callable[..., Person]
) -> None:
    physicist = visitor("physicist")
    physicist.start()
    physicist.run("x = 1")
    stack.kubectl(*SCALE, "--replicas=0")
    try:
        until(lambda: not _pods(stack), "Keycloak is away", seconds=60)
        assert physicist.run("print(6 * 7)").strip() == "42"
        neighbour = person("neighbour")
        neighbour.page.goto(f"{stack.url}/hub/login")
        neighbour.page.get_by_role("button", name="Sign in with").click()
        expect(neighbour.page.get_by_text("does not answer now")).to_be_visible()
        neighbour.picture("provider-away")
        assert physicist.is_ready()
    finally:
        stack.kubectl(*SCALE, "--replicas=1")
        began = time.monotonic()
        until(
            lambda: Visitor(stack, "neighbour").sign_in().url.endswith("/hub/home"), "one signs in again", seconds=300,
            every=3,
        )  # fmt: skip
        print(f"Keycloak is back after {time.monotonic() - began:.0f} s")


def test_pods_of_users_do_not_reach_keycloak(visitor: Callable[[str], Visitor]) -> None:
    physicist = visitor("physicist")
    physicist.start()
    code = "import socket\ntry:\n    socket.create_connection(('keycloak.keycloak.svc', 8080), 5)\n    print('open')\n"
    assert physicist.run(f"{code}except OSError:\n    print('closed')").strip() == "closed"


def test_a_stranger_is_nobody(stack: LiveStack) -> None:
    stranger = Visitor(stack, f"nobody-{secrets.token_hex(4)}")
    assert "Invalid username or password" in stranger.sign_in("wrong").text


def _pods(stack: LiveStack) -> list[str]:
    return [
        one["metadata"]["name"]
        for one in json.loads(stack.kubectl("get", "pods", "-n", "keycloak", "-o", "json"))["items"]
    ]

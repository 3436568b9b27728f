"""From accounts to a Keycloak with PostgreSQL under a session that runs, and both of those ended and started again.

On a stack of its own.
"""

import re
from collections.abc import Callable, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from components.sign_in import keycloak_admin
from components.sign_in.keycloak_realm import REALM
from operations import up
from operations.stack import Stack
from tests.conftest import OWN_STACK
from tests.live import institute, own
from tests.live.browser import browser
from tests.live.person import Person
from tests.live.scan import scan
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

pytestmark = [pytest.mark.nightly, pytest.mark.timeout(900, func_only=True)]

NAME = f"{OWN_STACK}-kinds"
AUTH = {"accounts": ["physicist", "neighbour"], "admins": ["operator"]}
KEYCLOAK = {**AUTH, "kind": "keycloak", "keycloak": {"database": "postgresql"}}
CONFIG: dict[str, Any] = {"cygnet:software": {"releases": []}, "cygnet:eos": institute.EOS}
OF_KEYCLOAK = ("--namespace", "keycloak")


@pytest.fixture(scope="module")
def stack(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    config = {**CONFIG, "cygnet:auth": AUTH}
    folder = tmp_path_factory.mktemp("stack")
    with institute.stack_beside(NAME, config, pytestconfig=pytestconfig, folder=folder) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(stack.ca_file, tmp_path_factory.mktemp("browser"), stack.url) as opened:
        yield opened


@pytest.fixture(scope="module")
def physicist(stack: LiveStack) -> Visitor:
    """With a session from before the change."""
    made = Visitor(stack, "physicist")
    made.start()
    return made


@pytest.fixture(scope="module")
def kernel(physicist: Visitor) -> str:
    """In that session."""
    physicist.kernel().run("answer = 42; open('before', 'w').write('kept')")
    (made,) = physicist.kernels()
    return made


@pytest.fixture(scope="module")
def pod(stack: LiveStack, kernel: str) -> str:
    """Of that session; the kernel is in it."""
    assert kernel
    return identity(stack)


@pytest.fixture(scope="module")
def changed(stack: LiveStack, pod: str) -> LiveStack:
    """The stack after the change."""
    assert pod
    own.write_config(Stack(NAME), {**institute.SMALL, **CONFIG, "cygnet:auth": KEYCLOAK})
    up.bring_up(Stack(NAME))
    return LiveStack.of(NAME, Stack(NAME).outputs(), stack.folder)


def test_sessions_and_homes_outlive_the_change(
    changed: LiveStack, pod: str, kernel: str, physicist: Visitor, person: Callable[..., Person]
) -> None:
    assert changed.parts["auth"]["kind"] == "keycloak"
    assert identity(changed) == pod
    assert "/hub/login" in physicist.http.get(f"{changed.url}/hub/home", timeout=30).url, "by the cookie of before"
    again = person("physicist", leave_session=True)
    again.fill_in()
    expect(again.page).to_have_url(re.compile(f"/realms/{REALM}/"))
    again.submit()
    again.start()
    expect(again.file("before")).to_be_visible()
    assert identity(changed) == pod
    assert Visitor(changed, "physicist").kernel(kernel).run("print(answer, open('before').read())") == "42 kept\n"
    again.picture("after-a-change-of-kind")


@pytest.mark.parametrize("ended", ["database", "both"])
def test_nobody_is_forgotten(changed: LiveStack, kernel: str, ended: str) -> None:
    neighbour, password = Visitor(changed, "neighbour"), f"chosen before {ended} ended"
    choose(changed, "neighbour", password)
    assert neighbour.sign_in(password).url.endswith("/hub/home")

    end(changed, ended)

    until(lambda: comes_back(neighbour), "the provider knows the browser", seconds=300, every=3)
    assert Visitor(changed, "physicist").kernel(kernel).run("print(answer)") == "42\n"
    assert Visitor(changed, "neighbour").sign_in(password).url.endswith("/hub/home")
    assert "Invalid username or password" in Visitor(changed, "neighbour").sign_in().text, "the first password"


def test_a_scanner_finds_nothing_above_low_where_one_signs_in(changed: LiveStack, tmp_path: Path) -> None:
    found = scan(f"{changed.url}/hub/login", tmp_path, pages=["/hub/oauth_login?next=%2Fhub%2Fhome"])
    assert found.pages > 1
    assert found.above_low == []


def identity(stack: LiveStack) -> str:
    """Of the pod of the physicist's session."""
    pod = stack.session_pod("physicist")
    assert pod
    return str(pod["metadata"]["uid"])


def choose(stack: LiveStack, name: str, password: str) -> None:
    """Somebody takes a password of their own."""
    outputs = Stack(stack.name).outputs()
    with keycloak_admin.administration(outputs["kubeconfig"], outputs["realm"]["secret"]) as admin:
        (user,) = admin.get_users({"username": name, "exact": True})
        admin.set_user_password(user["id"], password, temporary=False)


def end(stack: LiveStack, what: str) -> None:
    """Ends the database alone, as a fault would, or the pod with both; returns when it is away."""
    if what == "both":
        stack.kubectl("delete", "pod", *OF_KEYCLOAK, "--all", "--wait=true", seconds=120)
        return
    before = restarts(stack)
    inside = ("exec", *OF_KEYCLOAK, "deployment/keycloak", "--container=postgresql", "--", "sh", "-c")
    stack.kubectl(*inside, "kill -KILL $(head -n 1 /var/lib/postgresql/data/postmaster.pid)")
    until(lambda: restarts(stack) > before, "the database was started again", seconds=120)


def restarts(stack: LiveStack) -> int:
    """How often the database was."""
    (pod,) = stack.items("pods", *OF_KEYCLOAK)
    return sum(one["restartCount"] for one in pod["status"]["initContainerStatuses"] if one["name"] == "postgresql")


def comes_back(visitor: Visitor) -> bool:
    """Whether a browser that the hub has forgotten comes in without a form."""
    jar: CookieJar = visitor.http.cookies
    for cookie in list(jar):
        if cookie.path.startswith("/hub"):
            jar.clear(cookie.domain, cookie.path, cookie.name)
    page = visitor.http.get(f"{visitor.url}/hub/oauth_login", params={"next": "/hub/home"}, timeout=60)
    return page.url.endswith("/hub/home")

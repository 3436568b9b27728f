"""The front door: wrong passwords, administrators, and what others would make of it."""

import secrets
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

import pytest
from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until


@pytest.mark.usefixtures("accounts_only")
def test_guesses_have_to_wait_and_the_right_password_works_then(visitor: Callable[[str], Visitor]) -> None:
    forgetful = visitor("forgetful")
    _sign_in_at_last(forgetful)
    _guess(forgetful)
    _sign_in_at_last(forgetful)


@pytest.mark.usefixtures("accounts_only")
def test_guesses_at_nobodys_password_get_the_same_answers(stack: LiveStack) -> None:
    _guess(Visitor(stack, f"nobody-{secrets.token_hex(4)}"))


def test_a_wrong_password_is_told_on_the_page(person: Callable[..., Person]) -> None:
    physicist = person("physicist")
    physicist.sign_in("not the password")
    expect(physicist.page.get_by_text("Invalid username or password")).to_be_visible()
    physicist.picture("wrong-password")
    physicist.sign_in()
    physicist.start()


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


@pytest.mark.parametrize(
    "away",
    [
        "https://evil.example/",
        "//evil.example/",
        "///evil.example/",
        "/\\evil.example/",
        "https:evil.example",
        "%2F%2Fevil.example",
    ],
)
def test_sign_in_leads_nobody_astray(stack: LiveStack, visitor: Callable[[str], Visitor], away: str) -> None:
    physicist = visitor("physicist")
    answer = physicist.sign_in(next_page=away, follow=False)
    assert answer.status_code == 302
    assert urlsplit(urljoin(f"{stack.url}/hub/login", answer.headers["Location"])).netloc == urlsplit(stack.url).netloc


@pytest.mark.parametrize("path", ["/hub/login", "/hub/spawn", "/hub/api/users/physicist/server"])
def test_no_other_page_acts_in_ones_name(stack: LiveStack, visitor: Callable[[str], Visitor], path: str) -> None:
    physicist = visitor("physicist")
    assert physicist.sign_in().ok
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    fields = {"username": "physicist", "password": stack.accounts["physicist"]}
    answer = physicist.http.post(f"{stack.url}{path}", data=fields, headers=headers, allow_redirects=False, timeout=30)
    assert answer.status_code == 403
    assert not physicist.server()


def test_cookies_are_for_the_browser_and_this_service_alone(visitor: Callable[[str], Visitor]) -> None:
    physicist = visitor("physicist")
    answer = physicist.sign_in(follow=False)
    cookies = answer.raw.headers.getlist("Set-Cookie")
    assert any("jupyterhub-hub-login" in one for one in cookies)
    for one in cookies:
        said = one.lower()
        assert "secure" in said
        assert "samesite=lax" in said
        # The page itself has to read the one against forged requests, to send it along.
        assert "httponly" in said or said.startswith("_xsrf=")


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

"""An operator looks after everyone's sessions, and has no way into one."""

from collections.abc import Callable, Iterator

import pytest

from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session
from tests.live.waiting import until


@pytest.fixture(scope="module")
def physicist(stack: LiveStack) -> Iterator[Visitor]:
    """Someone whose session runs."""
    with session(stack, "physicist") as started:
        yield started


@pytest.mark.parametrize("path", ["lab", "api/contents", "files/notes.txt"])
def test_an_operator_does_not_open_anothers_session(
    visitor: Callable[[str], Visitor], physicist: Visitor, path: str
) -> None:
    operator = visitor("operator")
    inside = f"/user/{physicist.name}/{path}"
    assert operator.api("GET", inside, allow_redirects=False).status_code in (403, 404)
    # The same with a browser's cookie in place of a token.
    page = operator.http.get(f"{operator.url}{inside}", timeout=30)
    assert page.status_code in (403, 404), page.url


def test_an_operator_takes_nobodys_place(visitor: Callable[[str], Visitor], physicist: Visitor) -> None:
    operator = visitor("operator")
    asked = {
        "a token of another": operator.api("POST", f"/hub/api/users/{physicist.name}/tokens", json={}),
        "more rights": operator.api("PATCH", f"/hub/api/users/{operator.name}", json={"admin": True}),
        "the hub's end": operator.api("POST", "/hub/api/shutdown", json={}),
    }
    assert [what for what, answer in asked.items() if answer.status_code not in (403, 404)] == []


def test_an_operator_stops_anothers_session_on_the_page_of_all(
    person: Callable[..., Person], physicist: Visitor
) -> None:
    """Runs last: the others need the session."""
    operator = person("operator")
    operator.sign_in()
    operator.page.goto(f"{operator.url}/hub/admin")
    row = operator.page.locator("tr").filter(has_text="physicist").first
    row.get_by_role("button", name="Stop Server").click()
    until(lambda: not physicist.server(), "the session has stopped", seconds=60)

"""Nobody uses a session, or only a program does: who is away too long loses it, is warned before, and reads why."""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy

import pytest
from playwright.sync_api import expect
from requests import RequestException

from operations import audit
from operations.stack import Stack
from tests.live.own import CONFIG, write_config
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, http_session
from tests.live.waiting import until

IDLE_SECONDS, WARNING_SECONDS, LATER_SECONDS = 120, 75, 60
"""How long one may be away, how long before the end that is told, and how much later than announced it may come."""
BUSY = "import time; time.sleep(3600)"
WHY = "nobody used it for 2 minutes"


@pytest.fixture
def impatient(stack: LiveStack) -> Iterator[None]:
    """The stack does not wait for hours, as its file says."""
    keys = {"idle_hours": IDLE_SECONDS / 3600, "idle_warning_minutes": WARNING_SECONDS / 60}
    _up(stack, keys)
    yield
    _up(stack, {})


def _up(stack: LiveStack, keys: dict[str, float]) -> None:
    config = deepcopy(CONFIG)
    config["cygnet:hub"] |= keys
    write_config(Stack(stack.name), config)
    Stack(stack.name).pulumi("up", "--yes", "--skip-preview")
    http = http_session(stack.ca_file)
    until(
        lambda: http.get(f"{stack.url}/hub/health", timeout=10).ok,
        "the hub answers",
        seconds=60,
        through=RequestException,
    )


@pytest.mark.nightly
@pytest.mark.timeout(1200, func_only=True)
@pytest.mark.usefixtures("impatient")
def test_who_is_away_is_warned_and_work_goes_on(
    stack: LiveStack,
    person: Callable[[str], Person],
    visitor: Callable[[str], Visitor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    computing, typing, away = (visitor(name) for name in ("neighbour", "seat-001", "seat-002"))
    for one in (computing, typing, away):
        one.start()
    before = ended(stack, capsys)  # of other tests
    began = time.monotonic()
    computing.kernel().begin(BUSY)
    typing.terminal().enter("sleep 3600", waits=False)

    physicist = person("physicist")
    physicist.sign_in()
    physicist.start()
    notice = physicist.page.locator(".Toastify__toast").filter(has_text="Nobody has used this session since")
    expect(notice).to_be_visible(timeout=(IDLE_SECONDS - WARNING_SECONDS + 30) * 1000)
    physicist.picture("idle-warning")
    clicked = time.monotonic()
    notice.get_by_role("button", name="Keep the session").click()
    expect(notice).to_have_count(0)

    until(lambda: not away.server(), "who is away has no session", seconds=IDLE_SECONDS + LATER_SECONDS)
    assert time.monotonic() - began > IDLE_SECONDS
    assert ended(stack, capsys) == before, "it was kept"
    page = away.http.get(f"{away.url}/user/{away.name}/lab", timeout=30)
    assert f"Your session ended: {WHY}" in page.text

    until(
        lambda: stack.session_pod("physicist") is None,
        "who did not click again has none either",
        seconds=IDLE_SECONDS + LATER_SECONDS,
    )
    assert time.monotonic() - clicked > IDLE_SECONDS
    assert ended(stack, capsys) == [*before, WHY]
    physicist.page.goto(f"{physicist.url}/user/physicist/lab")
    expect(physicist.page.get_by_text(f"Your session ended: {WHY}")).to_be_visible()
    physicist.picture("idle-ended")

    remaining = began + 2 * IDLE_SECONDS + LATER_SECONDS - time.monotonic()
    time.sleep(max(0, remaining))
    for one in (computing, typing):
        assert one.is_ready(), f"{one.name} works"


def ended(stack: LiveStack, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Why sessions of the physicist's were ended in the last half hour, as the operator reads it."""
    capsys.readouterr()
    audit.run(argparse.Namespace(stack=stack.name, days=1 / 48, user="physicist", json=True))
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [one["why"] for one in told if one["what"] == "end session"]

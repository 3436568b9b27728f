"""The start page and the page that waits, as people use them: by keyboard alone, on a phone, by a reader of screens."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.machines.start_page import (
    DESK,
    NAMES_OF_CONTROLS,
    PEOPLE,
    PHONE,
    SESSIONS,
    chromium_here,
    focused,
    has_started,
    height,
    hub_with,
    overflow,
    picture,
    signed_in,
    stop,
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with hub_with(SESSIONS, tmp_path_factory.mktemp("hub")) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_here() as browser:
        yield browser


def test_a_session_is_chosen_and_started_by_keyboard_alone(chromium: Browser, hub: str) -> None:
    page = signed_in(chromium, hub, "ada")
    page.get_by_role("heading", name="Start a session").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    order = []
    for press in ("Tab", "Tab", "ArrowDown", "Tab", "ArrowDown", "Tab", "Tab"):
        page.keyboard.press(press)
        order.append(focused(page))
    assert order == [
        "profile standard", "release stable", "release bleeding", "interface lab", "interface document", "script",
        "Start",
    ]  # fmt: skip
    page.keyboard.press("Shift+Tab")
    page.keyboard.type("~/setup.sh")
    page.keyboard.press("Enter")
    has_started(page, hub, "ada")
    stop(page, hub, "ada")
    page.goto(f"{hub}/hub/spawn")
    assert page.evaluate("[...document.querySelectorAll('#spawn_form input:checked')].map(one => one.value)") == [
        "standard", "bleeding", "document",
    ]  # fmt: skip
    expect(page.get_by_label("Script")).to_have_value("~/setup.sh")
    page.get_by_role("heading", name="Start a session").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    page.keyboard.press("Tab")
    assert focused(page) == "Start as before: Standard, Bleeding edge, One document, ~/setup.sh"
    page.keyboard.press("Enter")
    has_started(page, hub, "ada")
    stop(page, hub, "ada")


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_a_phone_and_all_controls_have_names(
    chromium: Browser, hub: str, window: dict[str, int], request: pytest.FixtureRequest
) -> None:
    page = signed_in(chromium, hub, "ada", window)
    for choice in ("With a GPU", "Bleeding edge", "One document"):
        page.get_by_label(choice).check()
    page.get_by_label("Script").fill("~/a-folder-with-a-long-name/and-another-one-in-it/setup-of-the-course.sh")
    page.get_by_role("button", name="Start", exact=True).click()
    has_started(page, hub, "ada")
    stop(page, hub, "ada")
    page.goto(f"{hub}/hub/spawn")
    expect(page.get_by_text("Start as before")).to_be_visible()
    assert page.evaluate(NAMES_OF_CONTROLS) == []
    assert overflow(page) == 0
    assert height(page.get_by_role("button", name="Start", exact=True)) >= 32
    picture(page, request, f"start-page-{window['width']}")
    page.get_by_label("Script").fill("/etc/passwd")
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("there is no script '/etc/passwd' here")
    assert overflow(page) == 0
    page.close()


def test_a_turn_is_waited_for_in_the_page_and_taken_by_one_click(
    chromium: Browser, hub: str, request: pytest.FixtureRequest
) -> None:
    ada, bob, cyd = (signed_in(chromium, hub, name) for name in PEOPLE)
    cyd.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    for page, name in ((ada, "ada"), (bob, "bob")):
        page.get_by_label("With a GPU").check()
        page.get_by_role("button", name="Start", exact=True).click()
        has_started(page, hub, name)
    cyd.reload()
    expect(cyd.get_by_text("None of 2 free.")).to_be_visible()
    cyd.get_by_label("With a GPU").check()
    cyd.get_by_role("button", name="Start", exact=True).click()
    expect(cyd.get_by_role("status")).to_contain_text(
        re.compile(r"You are number 1 of 1 in the waiting list\. Expected in about [\d.]+ (hour|minute)")
    )
    cyd.get_by_role("link", name="Wait there").click()
    expect(cyd.get_by_role("heading", name="Waiting for a GPU")).to_be_visible()
    assert overflow(cyd) == 0
    assert cyd.evaluate(NAMES_OF_CONTROLS) == []
    picture(cyd, request, "waiting-375")
    stop(bob, hub, "bob")
    take = cyd.get_by_role("button", name="Start", exact=True)
    expect(take).to_be_visible(timeout=30_000)
    expect(cyd.get_by_role("status")).to_contain_text(
        re.compile(r"It is your turn: 1 t4 is kept for you, for \d+ minutes from now\.")
    )
    picture(cyd, request, "turn-375")
    take.click()
    has_started(cyd, hub, "cyd")
    for page, name in ((ada, "ada"), (cyd, "cyd")):
        stop(page, hub, name)

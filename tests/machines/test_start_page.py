"""The start page and the page that waits, as people use them: by keyboard alone, on a phone, by a reader of screens."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.live.ports import free_ports
from tests.live.waiting import until
from tests.unit.running_hub import running_hub
from tests.unit.test_gpus import SECRETS, SETTINGS, TWO_GPUS

PEOPLE = ("ada", "bob", "cyd")
PHONE, DESK = {"width": 375, "height": 667}, {"width": 1280, "height": 900}
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
SESSIONS: dict[str, Any] = {
    **SETTINGS["sessions"],
    "releases": [
        {
            "name": "stable",
            "title": "Stable",
            "view": "/cvmfs/s.example/stable",
            "description": "ROOT 6.40, Python 3.13",
        },
        {
            "name": "bleeding",
            "title": "Bleeding edge",
            "view": "/cvmfs/s.example/bleeding",
            "description": "Newest of all",
        },
    ],
    "interfaces": [
        {"name": "lab", "title": "JupyterLab", "description": "Everything on one page", "url": "/lab"},
        {"name": "document", "title": "One document", "description": "One document at a time", "url": "/doc"},
    ],
    "scripts": True,
}
NAMES_OF_CONTROLS = """() => [...document.querySelectorAll('input:not([type=hidden]), button, a[href]')]
    .filter(one => one.offsetParent && !((one.labels && one.labels.length) || one.textContent.trim() || one.ariaLabel
        || one.querySelector('img[alt]')))
    .map(one => one.outerHTML)"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("hub")
    hashed = {name: {"hash": QUICK.hash(f"{name}'s"), "admin": False, "uid": 70000} for name in PEOPLE}
    (port,) = free_ports(1)
    files = {"accounts.json": json.dumps(hashed)}
    with running_hub(folder, port, {"sessions": SESSIONS}, SECRETS, files, more=TWO_GPUS) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield browser
        browser.close()


def signed_in(chromium: Browser, hub: str, name: str, window: dict[str, int] = DESK) -> Page:
    """The start page, as somebody sees it after sign-in."""
    page = chromium.new_page(viewport={"width": window["width"], "height": window["height"]})
    page.goto(f"{hub}/hub/login?next=%2Fhub%2Fspawn")
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(f"{name}'s")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Start a session")).to_be_visible()
    return page


def focused(page: Page) -> str:
    """What has the focus, by its name and value."""
    found: str = page.evaluate("[document.activeElement.name, document.activeElement.value].filter(x => x).join(' ')")
    return found or str(page.evaluate("document.activeElement.textContent.trim()"))


def overflow(page: Page) -> int:
    """How many pixels one has to scroll sideways."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


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
    assert page.get_by_role("button", name="Start", exact=True).bounding_box()["height"] >= 32  # type: ignore[index]
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


def has_started(page: Page, hub: str, name: str) -> None:
    """Waits until the session that was asked for is there; behind it is no proxy that would show it."""

    def ready() -> bool:
        servers = page.request.get(f"{hub}/hub/api/users/{name}", headers=headers(page)).json().get("servers", {})
        return bool(servers and servers[""]["ready"])

    until(ready, f"the session of {name} is ready", seconds=60)


def stop(page: Page, hub: str, name: str) -> None:
    """Ends the session, as the hub's page does."""
    answer = page.request.delete(f"{hub}/hub/api/users/{name}/server", headers=headers(page))
    assert answer.status in (202, 204), answer.text()


def headers(page: Page) -> dict[str, str]:
    """What the hub's own pages send with what they ask."""
    cookies = {str(one.get("name")): one for one in page.context.cookies() if one.get("path") == "/hub/"}
    return {"X-XSRFToken": str(cookies["_xsrf"].get("value"))}


def picture(page: Page, request: pytest.FixtureRequest, name: str) -> None:
    """Kept where one asked for pictures."""
    folder: Path | None = request.config.getoption("--pictures")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=True)

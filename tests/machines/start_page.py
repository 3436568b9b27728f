"""The start page of a real hub on this computer, and people before it in a real browser."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

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
NAMES_OF_CONTROLS = """() => [...document.querySelectorAll('select, input:not([type=hidden]), button, a[href]')]
    .filter(one => one.offsetParent && !((one.labels && one.labels.length) || one.textContent.trim() || one.ariaLabel
        || one.querySelector('img[alt]')))
    .map(one => one.outerHTML)"""


def hub_with(sessions: Mapping[str, Any], folder: Path, *, swan: Path | None = None) -> AbstractContextManager[str]:
    """A hub with two GPUs, and its address.

    Args:
        sessions: What may be chosen there.
        folder: Of what it keeps.
        swan: Where SWAN's packages are.
    """
    hashed = {name: {"hash": QUICK.hash(f"{name}'s"), "admin": False, "uid": 70000} for name in PEOPLE}
    (port,) = free_ports(1)
    files = {"accounts.json": json.dumps(hashed)}
    return running_hub(folder, port, {"sessions": dict(sessions)}, SECRETS, files, more=TWO_GPUS, swan=swan)


@contextmanager
def chromium_here() -> Iterator[Browser]:
    """Debian's, without a window."""
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


def height(shown: Locator) -> float:
    """Of something on a page, in pixels."""
    box = shown.bounding_box()
    assert box is not None
    return box["height"]


def overflow(page: Page) -> int:
    """How many pixels one has to scroll sideways."""
    found: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return found


def has_started(page: Page, hub: str, name: str) -> None:
    """Waits until the session that was asked for is there; behind it is no proxy that would show it."""

    def ready() -> bool:
        found = _servers(page, hub, name)
        return bool(found and found[""]["ready"])

    until(ready, f"the session of {name} is ready", seconds=60)


def stop(page: Page, hub: str, name: str) -> None:
    """Ends the session, as the hub's page does, and waits for its end: until then it has its GPU."""
    answer = page.request.delete(f"{hub}/hub/api/users/{name}/server", headers=headers(page))
    assert answer.status in (202, 204), answer.text()
    until(lambda: not _servers(page, hub, name), f"the session of {name} has ended", seconds=60)


def _servers(page: Page, hub: str, name: str) -> dict[str, dict[str, object]]:
    answer = page.request.get(f"{hub}/hub/api/users/{name}", headers=headers(page))
    found: dict[str, dict[str, object]] = answer.json().get("servers", {})
    return found


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

"""SWAN's start page on a real hub, as people use it: by mouse, by keyboard alone, on a phone; and what is forged."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.live.waiting import until
from tests.machines import image_root
from tests.machines.start_page import (
    DESK,
    NAMES_OF_CONTROLS,
    PHONE,
    chromium_here,
    focused,
    has_started,
    headers,
    height,
    hub_with,
    overflow,
    picture,
    signed_in,
    stop,
)
from tests.machines.start_page import SESSIONS as PLAIN
from tests.unit.running_hub import Someone
from tests.unit.test_swan import FORGED, SENT

VIEWS = "/cvmfs/sft.cern.ch/lcg/views/LCG_107"
SESSIONS: dict[str, Any] = {
    **PLAIN,
    "page": "swan",
    "profiles": [*PLAIN["profiles"], {"name": "large", "title": "Large", "cores": 4, "memory_gib": 8}],
    "releases": [
        *PLAIN["releases"],
        {"name": "lcg", "title": "LCG 107", "view": f"{VIEWS}/x86_64-el9-gcc13-opt"},
        {"name": "lcg-debug", "title": "LCG 107", "view": f"{VIEWS}/x86_64-el9-gcc13-dbg"},
    ],
}
STANDARD = {"profile": "standard", "release": "stable", "interface": "lab"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    packages = image_root.root("hub") / "usr/local/share/cygnet/swan"
    with hub_with(SESSIONS, tmp_path_factory.mktemp("hub"), swan=packages) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with chromium_here() as browser:
        yield browser


def selected(page: Page) -> dict[str, str]:
    """What the form's lists and its field stand at, of those that one sees."""
    found: dict[str, str] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll('#spawn_form select, #spawn_form input[type=text]')]
            .filter(one => one.offsetParent).map(one => [one.name, one.value]))"""
    )
    return found


def options(page: Page, hub: str, name: str) -> dict[str, str]:
    """What the hub has of the session that runs, by its API."""
    answer = page.request.get(f"{hub}/hub/api/users/{name}", headers=headers(page)).json()
    found: dict[str, str] = answer["servers"][""]["user_options"]
    return found


def start(page: Page) -> None:
    page.get_by_role("button", name="Start", exact=True).click()


def test_a_session_is_chosen_by_mouse_and_chosen_already_the_next_time(
    chromium: Browser, hub: str, request: pytest.FixtureRequest
) -> None:
    page = signed_in(chromium, hub, "ada")
    expect(page.get_by_alt_text("SWAN logo")).to_be_visible()
    assert selected(page) == {
        "lcg": "stable", "platforms": "none", "cores": "1", "memory": "2", "gpu": "none", "scriptenv": "",
    }  # fmt: skip
    said = page.locator("#size-is")
    expect(said).to_have_text("Standard. 1 core, 2 GiB of memory")
    page.get_by_label("GPU").select_option("t4")
    assert (selected(page)["cores"], selected(page)["memory"]) == ("2", "16"), "a size is chosen as a whole"
    expect(said).to_contain_text("With a GPU. 1 GPU (t4), 2 cores, 16 GiB of memory. 2 of 2 free.")
    page.get_by_label("CPU").select_option("4")
    expect(said).to_have_text("Large. 4 cores, 8 GiB of memory")
    page.get_by_label("Software stack").select_option("lcg")
    page.get_by_label("Platform").select_option("x86_64-el9-gcc13-dbg")
    expect(said).to_contain_text("Large")
    page.get_by_label("JupyterLab with everything").uncheck()
    page.get_by_label("Environment script").fill("$CERNBOX_HOME/MySWAN/setup.sh")
    picture(page, request, "swan-1280")
    start(page)
    has_started(page, hub, "ada")
    chosen = {
        "profile": "large", "release": "lcg-debug", "interface": "document", "script": "~/MySWAN/setup.sh",
    }  # fmt: skip
    assert options(page, hub, "ada") == chosen
    stop(page, hub, "ada")

    page.goto(f"{hub}/hub/spawn")
    assert selected(page) == {
        "lcg": "lcg", "platforms": "x86_64-el9-gcc13-dbg", "cores": "4", "memory": "8", "gpu": "none",
        "scriptenv": "~/MySWAN/setup.sh",
    }  # fmt: skip
    expect(page.get_by_label("JupyterLab with everything")).not_to_be_checked()
    page.get_by_role("button", name="Start as before: Large, LCG 107, One document, ~/MySWAN/setup.sh").click()
    has_started(page, hub, "ada")
    assert options(page, hub, "ada") == chosen
    stop(page, hub, "ada")
    page.close()


def test_a_session_is_chosen_and_started_by_keyboard_alone(chromium: Browser, hub: str) -> None:
    page = signed_in(chromium, hub, "bob")
    page.get_by_role("heading", name="Start a session").evaluate("one => { one.tabIndex = -1; one.focus(); }")
    passed: list[str] = []
    while not passed or passed[-1] != "Start":
        page.keyboard.press("Tab")
        passed.append(focused(page))
        assert len(passed) < 40, passed
        if passed[-1] in ("lcg stable", "cores 1"):
            page.keyboard.press("ArrowDown")
        if passed[-1] == "scriptenv":
            page.keyboard.type("~/setup.sh")
    fields = [one for one in passed if one not in ("more...", "Start")]
    assert fields == [
        "Generate URL", "use-jupyterlab checked", "lcg stable", "platforms none", "scriptenv", "cores 1", "memory 16",
        "gpu t4",
    ]  # fmt: skip
    page.keyboard.press("Enter")
    has_started(page, hub, "bob")
    assert options(page, hub, "bob") == {
        "profile": "gpu", "release": "bleeding", "interface": "lab", "script": "~/setup.sh",
    }  # fmt: skip
    stop(page, hub, "bob")
    page.close()


@pytest.mark.parametrize("window", [PHONE, DESK], ids=["phone", "desk"])
def test_nothing_is_wider_than_a_phone_and_all_of_it_is_the_hubs(
    chromium: Browser, hub: str, window: dict[str, int], request: pytest.FixtureRequest
) -> None:
    page = signed_in(chromium, hub, "cyd", window)
    answers: list[tuple[int, str | None]] = []
    page.on("response", lambda one: answers.append((one.status, urlparse(one.url).hostname)))
    page.goto(f"{hub}/hub/spawn", wait_until="networkidle")
    assert {status for status, _ in answers} <= {200, 304}
    assert {host for _, host in answers if host} == {"127.0.0.1"}
    assert page.evaluate(NAMES_OF_CONTROLS) == []
    assert overflow(page) == 0
    assert height(page.get_by_role("button", name="Start", exact=True)) >= 32
    picture(page, request, f"swan-{window['width']}")
    page.get_by_label("Environment script").fill("/etc/passwd")
    start(page)
    expect(page.get_by_role("alert")).to_contain_text("there is no script '/etc/passwd' here")
    assert overflow(page) == 0
    assert selected(page)["cores"] == "1"
    page.close()


def test_what_is_forged_is_refused_in_words_and_starts_nothing(chromium: Browser, hub: str) -> None:
    page = signed_in(chromium, hub, "cyd")
    markup = "<img src=x onerror=alert(1)>"
    page.evaluate("value => document.getElementById('coresOptions').add(new Option(value, value, true, true))", markup)
    start(page)
    expect(page.get_by_role("alert")).to_contain_text(f"there is no profile with cores {markup}")
    expect(page.get_by_role("alert")).to_contain_text("choose one of: cores 1, memory 2, gpu none; cores 2, memory 16")
    page.close()

    cyd = Someone(hub, "cyd", "cyd's")
    sent = {name: values[0] for name, values in SENT.items()} | {"cores": "1", "memory": "2"}
    for forged in FORGED:
        fields = {name: values[0] for name, values in forged.items() if values and isinstance(values[0], str)}
        if fields:
            answer = cyd.submit("/hub/spawn", **(sent | fields))
            assert (answer.status_code, "there is no" in answer.text) == (400, True), fields
    assert cyd.api("GET", "users/cyd").json()["servers"] == {}
    assert "Start as before" not in cyd.page("/hub/spawn").text
    assert cyd.submit("/hub/spawn", **sent).status_code == 302, "only what was forged was refused"
    until(lambda: cyd.api("GET", "users/cyd").json()["servers"][""]["ready"], "that session is ready", seconds=60)
    assert cyd.api("DELETE", "users/cyd/server").ok


def test_a_link_of_swans_fills_the_form_in_and_starts_nothing(chromium: Browser, hub: str) -> None:
    page = signed_in(chromium, hub, "cyd")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_label("Software stack").select_option("bleeding")
    page.get_by_label("Memory").select_option("8")
    page.get_by_label("JupyterLab with everything").check()
    page.get_by_role("button", name="Generate URL").click()
    expect(page.get_by_role("button", name="URL copied!")).to_be_visible()
    page.goto(page.evaluate("navigator.clipboard.readText()"))
    expect(page.get_by_text("The link has filled in this page, and starts nothing by itself.")).to_be_visible()
    found = selected(page)
    assert (found["lcg"], found["cores"], found["memory"]) == ("bleeding", "4", "8")
    start(page)
    has_started(page, hub, "cyd")
    assert options(page, hub, "cyd") == {"profile": "large", "release": "bleeding", "interface": "lab"}
    stop(page, hub, "cyd")
    page.close()

"""What a user may choose before a session: the software that it has."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from playwright.sync_api import expect

from software.releases import RELEASES
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

WHERE = """
import importlib, json, os, sys
numpy = importlib.import_module("numpy")
print(json.dumps({"view": os.environ["CYGNET_VIEW"], "numpy": numpy.__version__, "file": numpy.__file__}))
"""


@pytest.fixture
def releases(stack: LiveStack) -> Mapping[str, Mapping[str, str]]:
    """What the stack offers, by name, the default first."""
    offered = {release["name"]: release for release in stack.parts["software"]["releases"]}
    if len(offered) < 2:
        pytest.skip(f"the stack '{stack.name}' leaves nothing to choose")
    return offered


def test_another_release_is_chosen_and_chosen_already_the_next_time(
    person: Callable[..., Person], releases: Mapping[str, Mapping[str, str]]
) -> None:
    usual, other = list(releases.values())[:2]
    physicist = person("physicist")
    physicist.sign_in()
    form = physicist.page.locator("#spawn_form")
    expect(form).to_contain_text(usual["title"])
    expect(form).to_contain_text(other["description"])
    physicist.picture("start-page")
    physicist.start(other["title"])
    physicist.open_notebook("Python 3")
    expect(physicist.run_cell("import numpy; print(numpy.__version__)")).to_have_text(pinned_numpy(other["name"]))
    physicist.terminal("rm --force view.txt; echo $CYGNET_VIEW > view.txt")
    expect(physicist.file("view.txt")).to_be_visible(timeout=30_000)  # the list of files is read again every 10 s
    physicist.picture("other-release")

    physicist.stop()
    physicist.page.goto(f"{physicist.url}/hub/spawn")
    expect(form.locator(f":checked[value={other['name']}]")).to_have_count(1)
    physicist.start(usual["title"])  # so that those who come later find what they expect


def test_who_chooses_nothing_has_the_first_release(
    visitor: Callable[[str], Visitor], releases: Mapping[str, Mapping[str, str]]
) -> None:
    neighbour = visitor("neighbour")
    neighbour.start()
    first = next(iter(releases.values()))
    assert json.loads(neighbour.run(WHERE))["view"].startswith(f"{first['view']}-")


@pytest.mark.parametrize("number", [0, 1])
def test_a_chosen_release_is_what_the_session_computes_with(
    visitor: Callable[[str], Visitor], releases: Mapping[str, Mapping[str, str]], number: int
) -> None:
    release = list(releases.values())[number]
    seat = visitor("seat-001")
    seat.start(release=release["name"])
    found: dict[str, Any] = json.loads(seat.run(WHERE))
    assert found["view"].startswith(f"{release['view']}-")
    assert found["file"].startswith(f"{found['view']}/")
    assert found["numpy"] == pinned_numpy(release["name"])


def test_a_forged_choice_is_refused_and_does_not_stay(
    visitor: Callable[[str], Visitor], releases: Mapping[str, Mapping[str, str]]
) -> None:
    seat = visitor("seat-002")
    for choices in ({"release": "../../etc"}, {"image": "registry.example/mine"}):
        answer = seat.ask_for_session(**choices)
        assert answer.status_code == 400
        assert "there is no" in answer.json()["message"]
    assert ", ".join(releases) in seat.ask_for_session(release="forged").json()["message"]
    seat.start()
    assert json.loads(seat.run(WHERE))["view"].startswith(f"{next(iter(releases.values()))['view']}-")


def pinned_numpy(release: str) -> str:
    """The version of numpy that a release's lock names."""
    lines = RELEASES[release].lock.read_text().splitlines()
    return next(line.split("==")[1].split()[0] for line in lines if line.startswith("numpy=="))

"""GPUs that are shared: all of them are taken, somebody waits, and has the next one."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor
from tests.live.waiting import until

LABEL, RESOURCE = "cygnet.io/gpu", "nvidia.com/gpu"


@pytest.fixture
def crowd(stack: LiveStack, visitor: Callable[[str], Visitor]) -> Iterator[list[Visitor]]:
    """One person more than there are GPUs; their sessions end with the test."""
    nodes = stack.items("nodes", "--namespace=", f"--selector={LABEL}")
    count = sum(int(node["status"]["allocatable"].get(RESOURCE, 0)) for node in nodes)
    names = [name for name in stack.accounts if name != "operator"][: count + 1]
    if not count or len(names) <= count:
        pytest.skip(f"the stack '{stack.name}' has no GPUs, or no account more than GPUs")
    people = [visitor(name) for name in names]
    yield people
    for one in people:
        one.stop()


@pytest.mark.nightly
def test_who_comes_last_waits_in_the_page_and_has_the_next_gpu(
    stack: LiveStack, crowd: list[Visitor], person: Callable[..., Person]
) -> None:
    *first, last = crowd
    for one in first:
        one.start(profile="gpu")
        spec = (stack.session_pod(one.name) or {})["spec"]
        assert spec["containers"][0]["resources"]["limits"][RESOURCE] == "1"
        assert spec["nodeName"] in [node["metadata"]["name"] for node in stack.items("nodes", f"--selector={LABEL}")]
    answer = last.ask_for_session(profile="gpu")
    assert answer.status_code == 429
    assert "You are number 1 of 1 in the waiting list." in answer.json()["message"]

    waits = person(last.name)
    waits.sign_in()
    waits.page.goto(f"{waits.url}/hub/spawn")
    expect(waits.page.get_by_text(f"None of {len(first)} free. 1 person waits.")).to_be_visible()
    waits.picture("all-taken")
    waits.page.get_by_role("link", name="Wait there").click()
    expect(waits.page.get_by_role("status")).to_contain_text("You are number 1 of 1 in the waiting list.")
    waits.picture("waiting")
    first[0].stop()
    take = waits.page.get_by_role("button", name="Start", exact=True)
    expect(take).to_be_visible(timeout=30_000)
    assert first[0].ask_for_session(profile="gpu").status_code == 429, "it is kept"
    waits.picture("turn")
    take.click()
    until(last.is_ready, "the session has begun", seconds=120)

    gives_up = person(first[0].name)
    gives_up.sign_in()
    gives_up.page.goto(f"{gives_up.url}/hub/waiting")
    expect(gives_up.page.get_by_role("status")).to_contain_text("You are number 1 of 1 in the waiting list.")
    gives_up.page.get_by_role("button", name="Leave the waiting list").click()
    expect(gives_up.page.get_by_role("status")).to_contain_text("You are not in the waiting list.")

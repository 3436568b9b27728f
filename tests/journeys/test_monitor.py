"""An operator looks at the page of pictures after a session was started; sessions and others reach none of it."""

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlparse

import pytest
from playwright.sync_api import expect

from tests.live.person import Person
from tests.live.reach import reached
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor, session
from tests.live.waiting import until


@pytest.fixture(scope="module")
def url(stack: LiveStack) -> str:
    """The page's origin."""
    if not stack.parts["monitor"]:
        pytest.skip(f"the stack '{stack.name}' has no monitor")
    return str(stack.parts["monitor"]["url"])


@pytest.fixture(scope="module")
def physicist(stack: LiveStack, url: str) -> Iterator[Visitor]:
    """Someone whose session runs."""
    assert url
    with session(stack, "physicist") as started:
        yield started


def test_the_page_shows_a_session_that_was_started(
    stack: LiveStack, url: str, person: Callable[..., Person], physicist: Visitor
) -> None:
    assert physicist.is_ready()
    operator = person("operator")
    operator.sign_in()
    operator.page.goto(f"{operator.url}/hub/home")
    operator.page.get_by_role("link", name="Monitor").click()
    operator.page.wait_for_url(f"{url}/monitor/consoles/cygnet.html")

    def shown() -> bool:
        operator.page.reload()
        return int(operator.page.locator("#sessions").inner_text()) >= 1

    until(shown, "the page knows of the session", seconds=60, every=3, through=ValueError)
    for picture, line in {"sessions": "running", "starts": "p95", "failures": "no room", "storage": "/srv/eos"}.items():
        drawn = operator.page.locator(f"#picture-{picture}")
        expect(drawn.locator("svg path").first).to_be_attached()
        expect(drawn.locator(".rickshaw_legend")).to_contain_text(line)
    operator.picture("monitor")
    assert operator.asked == {urlparse(stack.url).hostname}


def test_a_user_reads_that_it_is_not_for_them(url: str, person: Callable[..., Person], physicist: Visitor) -> None:
    user = person(physicist.name, leave_session=True)
    user.sign_in()
    user.page.goto(f"{url}/monitor/")
    expect(user.page.locator("body")).to_contain_text(re.compile("403"))
    user.page.goto(f"{user.url}/hub/home")
    expect(user.page.get_by_role("link", name="Monitor")).to_have_count(0)


def test_a_session_reaches_none_of_it(stack: LiveStack, physicist: Visitor) -> None:
    pods = stack.items("pods", "--namespace", "monitor")
    ports = {"prometheus": 9090, "kube-state-metrics": 8080, "node-exporter": 9100}
    targets = [(pod["status"]["podIP"], ports[pod["metadata"]["labels"]["app.kubernetes.io/name"]]) for pod in pods]
    assert {port for _, port in targets} == set(ports.values())
    targets += [("prometheus.monitor.svc", 9090), (stack.address(stack.group("worker")[0]), 10250)]
    assert "open" not in reached(physicist, targets)

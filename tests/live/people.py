"""Who takes part in live tests: people in browsers, and visitors without one. All sessions end with their test."""

import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.live.browser import browser
from tests.live.person import Person
from tests.live.stack import LiveStack
from tests.live.visitor import Visitor

PEOPLE = pytest.StashKey[list[Person]]()


@pytest.fixture(scope="session")
def chromium(stack: LiveStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser that knows the stack, by its own address and through a tunnel."""
    with browser(stack.ca_file, tmp_path_factory.mktemp("browser"), stack.url, "https://localhost") as opened:
        yield opened


@pytest.fixture
def person(stack: LiveStack, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Person]]:
    """Makes a person in front of a browser: `person("physicist")`, or `person("physicist", url=...)`.

    With `leave_session=True` a session that they have at the end is somebody else's to stop.
    """
    people = request.node.stash[PEOPLE] = []
    with ExitStack() as open_windows:

        def make(name: str, url: str = stack.url, *, leave_session: bool = False) -> Person:
            _need_account(stack, name)
            made = Person(chromium, url, name, stack.accounts[name], pictures=request.config.option.pictures)
            people.append(made)
            if not leave_session:
                open_windows.callback(Visitor(stack, name).stop)
            open_windows.callback(made.close)
            return made

        yield make


@pytest.fixture
def accounts_only(stack: LiveStack) -> None:
    """For what the hub does itself where no provider does it."""
    need_kind(stack, "accounts")


@pytest.fixture
def keycloak_only(stack: LiveStack) -> None:
    """For what a Keycloak of the stack does."""
    need_kind(stack, "keycloak")


def need_kind(stack: LiveStack, kind: str) -> None:
    """Skips the test on a stack with another kind of sign-in."""
    if (other := stack.parts["auth"]["kind"]) != kind:
        pytest.skip(f"sign-in of kind {kind}; this stack has {other}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure goes a picture of what each person had in front of them."""
    report = yield
    if call.when == "call" and report.failed:
        for person in item.stash.get(PEOPLE, []):
            file = Path(tempfile.gettempdir()) / f"{item.name}-{person.name}.png"
            person.page.screenshot(path=file)
            report.sections.append(("picture", str(file)))
    return report


@pytest.fixture
def visitor(stack: LiveStack) -> Iterator[Callable[[str], Visitor]]:
    """Makes a user without a browser: `visitor("physicist")`."""
    with ExitStack() as sessions:

        def make(name: str) -> Visitor:
            _need_account(stack, name)
            made = Visitor(stack, name)
            sessions.callback(made.stop)
            return made

        yield make


def _need_account(stack: LiveStack, name: str) -> None:
    if name not in stack.accounts:
        pytest.skip(f"the stack '{stack.name}' has no account '{name}'")
